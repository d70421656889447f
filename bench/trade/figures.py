"""What the parts of bench/trade.py share: one figure with its goal, and the median with its spread.

A part is a function ``(rounds, small) -> list[Figure]`` in the ``PARTS`` of a module named in ``bench/trade.py``; ``small`` asks for
a run of seconds that shows that the part works and says nothing about speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table. ``goal`` is (``<=`` or ``>=``, bound) or None; ``of`` is what is held against it (default: value)."""

    name: str
    value: float
    peer: float | None = None
    goal: tuple[str, float] | None = None
    of: float | None = None
    spread: str = ""

    @property
    def judged(self) -> float:
        """The number that the goal is about: the ratio to the peer where there is one."""
        if self.of is not None:
            return self.of
        return self.value / self.peer if self.peer else self.value

    @property
    def ok(self) -> bool:
        """Whether the goal is met; True where there is none."""
        if self.goal is None:
            return True
        sign, bound = self.goal
        return self.judged <= bound if sign == "<=" else self.judged >= bound

    def row(self) -> str:
        """The row of the table."""
        peer, ratio = ("-", "-") if self.peer is None else (f"{self.peer:,.4g}", f"{self.value / self.peer:.2f}")
        goal = f"{self.goal[0]} {self.goal[1]:,g}" if self.goal else "-"
        verdict = "-" if self.goal is None else "ok" if self.ok else "**short**"
        return f"| {self.name} | {self.value:,.4g} | {self.spread or '-'} | {peer} | {ratio} | {goal} | {verdict} |"


def middle(values: Sequence[float]) -> tuple[float, str]:
    """The median, and least to most in words."""
    return statistics.median(values), f"{min(values):,.4g}-{max(values):,.4g}"
