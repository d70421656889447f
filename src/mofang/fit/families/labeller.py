"""Spans of a text by a transformer that tags every token; long texts in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from mofang.fit.families.reader import Placed


@dataclass(frozen=True, kw_only=True)
class Labeller(Placed):
    """A transformer with a tag for each token: a pretrained ``base``, or layers of its own.

    Chinese is tagged by character, other writing by word, of which the first token speaks. ``outside`` is what a token
    outside of all spans counts in the loss; less than 1 finds more spans, and more false ones.
    """

    tag: ClassVar[str] = "labeller"
    version: ClassVar[int] = 3
    tasks: ClassVar[tuple[str, ...]] = ("token_classification",)
    lowercase: ClassVar[bool] = False

    outside: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def outside_counts(self) -> float:
        """What a token outside counts."""
        return self.outside
