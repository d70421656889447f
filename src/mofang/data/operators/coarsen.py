"""Columns made less exact, in training and in serving by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class ValueCoarsen:
    """Bands for numbers, months or years for dates, one group for rare categories, or pseudonyms: as ``state`` says."""

    name: ClassVar[str] = "value-coarsen"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """The values, less exact; None stays None."""
        from mofang.data.protecting.coarse import coarse
        from mofang.data.protecting.ring import held

        return coarse(values, state, held(state))
