"""Learning curves: what all rows would give, told from small parts of them.

The error of a model falls about as a power of the rows that it has seen (Hestness et al. 2017; Viering and Loog 2022 on where
that fails). Two parts give the power; the hope that it is steeper than seen is part of the decision to stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mofang.fit.family import Family
from mofang.fit.size import Size

ROWS_LEAST = 150  # of the smaller part
STEP = 3.0  # the larger part has so many times its rows
POWERS = (0.05, 0.5)  # of rows, by which errors of texts fall
HOPE = 0.1  # added to the power for what a curve may reach at most
PART_MOST = 0.25
DEAR_ROWS, DEAR_BUDGET_S, DEAR_SHARE = 2000, 60.0, 0.1  # from which a learning curve pays
AHEAD_ROWS = 500  # from which a pretrained encoder is given what is left, shortened


@dataclass(frozen=True)
class Curve:
    """Scores of a family on parts of the rows: ``points`` are (rows, score), the smaller part first.

    ``spent_s`` are the seconds of each, ``longer`` how many times the epochs of a part the whole training plans.
    """

    epochs: ClassVar[int] = 2

    family: Family
    place: int
    points: tuple[tuple[float, float], ...]
    rows: int
    spent_s: tuple[float, ...] = ()
    longer: float = 1.0

    @property
    def power(self) -> float:
        """By which power of the rows the error fell between both parts, within what is usual."""
        (few, low), (many, high) = self.points[0], self.points[-1]
        errors = max(1e-6, 1 - low), max(1e-6, 1 - high)
        found = math.log(errors[0] / errors[1]) / math.log(many / few) if many > few else POWERS[0]
        return min(max(found, POWERS[0]), POWERS[1])

    @property
    def whole(self) -> float:
        """The score that all rows would give, if the error goes on to fall so."""
        return self._at(self.power)

    @property
    def most(self) -> float:
        """The same with hope."""
        return self._at(min(self.power + HOPE, POWERS[1] + HOPE))

    @property
    def whole_s(self) -> float:
        """Seconds that the whole training would take, told from what both parts took."""
        (few, _), (many, _) = self.points[0], self.points[-1]
        slope = max(1e-6, (self.spent_s[-1] - self.spent_s[0]) / (many - few))
        return self.longer * slope * self.rows + max(0.0, self.spent_s[0] - slope * few)

    def to_dict(self) -> dict[str, Any]:
        """As the table of candidates shows it."""
        points = [[round(rows), round(score, 6)] for rows, score in self.points]
        return {"points": points, "whole": round(self.whole, 6), "most": round(self.most, 6)}

    def _at(self, power: float) -> float:
        rows, score = self.points[-1]
        return 1 - (1 - score) * math.exp(-power * math.log(self.rows / rows))


def longer(family: Family, size: Size, rate: float) -> float:
    """How many times the epochs of a part a family plans for all rows."""
    tried = replace(family, epochs=Curve.epochs)  # type: ignore[type-var]
    whole, part = (one.estimate(size).operations for one in (family, tried))
    return whole / part if part else 1.0


def rung(family: Family, size: Size, rate: float, seconds: float) -> tuple[float, float]:
    """The two parts of the rows on which the family is tried in about so many seconds, at least ``ROWS_LEAST`` in the smaller:
    its estimate may be wrong by much where others use the machine, and the parts themselves tell what it takes.
    """
    tried = replace(family, epochs=Curve.epochs)  # type: ignore[type-var]
    none = tried.estimate(replace(size, rows=0)).seconds(rate)
    whole = tried.estimate(size).seconds(rate)
    part = min(PART_MOST, seconds / max(1e-9, whole - none))  # what it takes to start is spent in any case
    part = min(1.0, max(part, STEP * ROWS_LEAST / size.rows))
    return part / STEP, part


def is_dear(family: Family, estimate_s: float, size: Size, budget_s: float) -> bool:
    """Whether to look at a family's learning curve before its whole training is paid for."""
    rows = min(AHEAD_ROWS, DEAR_ROWS) if family.starts_ahead else DEAR_ROWS
    return family.shortens and size.rows >= rows and budget_s >= DEAR_BUDGET_S and estimate_s > DEAR_SHARE * budget_s
