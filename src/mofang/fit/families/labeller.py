"""Spans of a text by a transformer that tags every token; long texts in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mofang.core.errors import MofangError
from mofang.fit.families.reader import Placed
from mofang.fit.family import Conditions, Fitted
from mofang.fit.material import Material


@dataclass(frozen=True, kw_only=True)
class Labeller(Placed):
    """A transformer with a tag for each token: a pretrained ``base``, or layers of its own.

    Chinese is tagged by character, other writing by word, of which the first token speaks. ``outside`` is what a token
    outside of all spans counts in the loss; less than 1 finds more spans, and more false ones. The ``chain`` of which tag follows
    which is counted in the training texts, or taught with the network (conditional random field).
    """

    tag: ClassVar[str] = "labeller"
    version: ClassVar[int] = 3
    tasks: ClassVar[tuple[str, ...]] = ("token_classification",)
    lowercase: ClassVar[bool] = False

    outside: Annotated[float, Field(gt=0, le=1)] = 1.0
    chain: Literal["counted", "taught"] = "counted"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """As every placed family; a sequence that is taught whole has no tokens that count less."""
        if self.chain == "taught" and self.outside != 1.0:
            raise MofangError("chain-unsuited", outside=f"{self.outside:g}")
        return super().fit(material, conditions)

    @property
    def teaches_chain(self) -> bool:
        """Whether the chain is taught."""
        return self.chain == "taught"

    @property
    def outside_counts(self) -> float:
        """What a token outside counts."""
        return self.outside
