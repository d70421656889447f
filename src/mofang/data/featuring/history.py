"""Aggregates over what an entity did before: they never look at the row itself, at its moment, or at anything later."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mofang.core.errors import MofangError

KINDS = ("count", "mean", "sum", "min", "max", "last", "since")
DAY_S = 86_400.0
Values = Sequence[float | None]


@dataclass(frozen=True)
class Aggregate:
    """One aggregate of one column: its kind, and the name of the column that it makes."""

    column: str
    kind: str

    @property
    def name(self) -> str:
        """The made column; a request gives its value under this name."""
        return f"{self.column}.{self.kind}.before"


def parse_aggregates(given: Sequence[str]) -> list[Aggregate]:
    """``amount:mean,count`` comes as ``amount:mean`` and ``count``: a kind alone belongs to the column before it."""
    found: list[Aggregate] = []
    column = ""
    for text in given:
        name, colon, kind = text.rpartition(":")
        column, kind = (name.strip(), kind.strip()) if colon else (column, text.strip())
        if not column or kind not in KINDS:
            raise MofangError("aggregate-wrong", given=text, kinds=", ".join(KINDS))
        found.append(Aggregate(column, kind))
    return list(dict.fromkeys(found))


class _Past:
    """What one entity did so far; with a window (in seconds) what is older is forgotten."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.count, self.sum = 0, 0.0
        self.low: float | None = None
        self.high: float | None = None
        self.last: float | None = None
        self.moment: float | None = None
        self.kept: deque[tuple[float, float]] = deque()

    def add(self, moment: float, value: float | None) -> None:
        self.moment = moment
        if value is None:
            return
        if self.window_s:
            self.kept.append((moment, value))
        self.count += 1
        self.sum += value
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        self.last = value

    def tell(self, kind: str, moment: float) -> float | None:
        if self.window_s and self.kept and self.kept[0][0] < moment - self.window_s:
            while self.kept and self.kept[0][0] < moment - self.window_s:
                self.kept.popleft()
            values = [value for _, value in self.kept]
            self.count, self.sum = len(values), float(sum(values))
            self.low, self.high = (min(values), max(values)) if values else (None, None)
            self.last = values[-1] if values else None
        if kind == "count":
            return float(self.count)
        if kind == "since":
            return None if self.moment is None else (moment - self.moment) / DAY_S
        if kind in ("mean", "sum"):
            return None if not self.count else self.sum / self.count if kind == "mean" else self.sum
        return {"min": self.low, "max": self.high, "last": self.last}[kind]


def earlier(entities: Sequence[str | None], moments: Values, values: Values, kinds: Sequence[str],
            window_s: float = 0.0) -> dict[str, list[float | None]]:
    """For each row the aggregates over its entity's strictly earlier rows, in the rows' own order.

    Rows of one moment do not see each other; a row without an entity or a readable time has no aggregates and counts
    for none. ``window_s`` 0 looks back to the beginning.
    """
    made: dict[str, list[float | None]] = {kind: [None] * len(entities) for kind in kinds}
    usable = [row for row in range(len(entities)) if entities[row] is not None and moments[row] is not None]
    times = np.array([moments[row] for row in usable], np.float64)
    ordered = [usable[place] for place in np.argsort(times, kind="stable")]
    pasts: dict[str, _Past] = {}
    first = 0
    while first < len(ordered):
        moment = moments[ordered[first]]
        assert moment is not None
        end = first
        while end < len(ordered) and moments[ordered[end]] == moment:
            end += 1
        for row in ordered[first:end]:
            past = pasts.setdefault(str(entities[row]), _Past(window_s))
            for kind in kinds:
                made[kind][row] = past.tell(kind, moment)
        # equal moments are added in the order of their values, so that the rows' own order changes nothing
        for row in sorted(ordered[first:end], key=lambda one: (values[one] is None, values[one] or 0.0)):
            pasts[str(entities[row])].add(moment, values[row])
        first = end
    return made
