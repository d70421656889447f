"""Families for spans in texts: a linear model of each piece first, then encoders."""

from __future__ import annotations

from mofang.fit.body import bases
from mofang.fit.families.labeller import Labeller
from mofang.fit.families.surroundings import Surroundings
from mofang.fit.family import Family
from mofang.fit.size import Size

BASELINE = Surroundings()


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model of each piece by its neighbours, then encoders."""
    based = tuple(Labeller(base=base) for base in bases(size))
    return (Surroundings(), Labeller(), *based, Labeller(layers=4, width=256, learning_rate=3e-4))
