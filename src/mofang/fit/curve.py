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


@dataclass(frozen=True)
class Curve:
    """Scores of a family on parts of the rows: ``points`` are (rows, score), the smaller part first."""

    epochs: ClassVar[int] = 3

    family: Family
    place: int
    points: tuple[tuple[float, float], ...]
    rows: int

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

    def to_dict(self) -> dict[str, Any]:
        """As the table of candidates shows it."""
        points = [[round(rows), round(score, 6)] for rows, score in self.points]
        return {"points": points, "whole": round(self.whole, 6), "most": round(self.most, 6)}

    def _at(self, power: float) -> float:
        rows, score = self.points[-1]
        return 1 - (1 - score) * (self.rows / rows) ** -power


def rung(family: Family, size: Size, rate: float, seconds: float) -> tuple[float, ...]:
    """The two parts of the rows on which the family is tried in about so many seconds, or () where that is too few rows."""
    tried = replace(family, epochs=Curve.epochs)  # type: ignore[type-var]
    none = tried.estimate(replace(size, rows=0)).seconds(rate)
    whole = tried.estimate(size).seconds(rate)
    part = min(PART_MOST, seconds / max(1e-9, whole - none))  # what it takes to start is spent in any case
    return (part / STEP, part) if part * size.rows / STEP >= ROWS_LEAST else ()
