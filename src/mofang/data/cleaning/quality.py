"""``--quality``: which texts read well enough to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mofang.core.variant import Variant


class Quality(Variant):
    """Rules for whole texts: ``none``, or ``web`` with thresholds of its own for English and for Chinese."""

    def decide(self, found: Mapping[str, Any], rows: int) -> list[str]:
        """A reason for each text, or nothing, from the columns of its figures."""
        raise NotImplementedError


@dataclass(frozen=True)
class Anything(Quality):
    """Every text is good enough."""

    tag: ClassVar[str] = "none"

    def decide(self, found: Mapping[str, Any], rows: int) -> list[str]:
        """No reasons."""
        return [""] * rows
