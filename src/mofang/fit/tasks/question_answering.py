"""Families for answers in a context: a linear model of each piece first, then encoders."""

from __future__ import annotations

from mofang.fit.body import bases
from mofang.fit.families.reader import Reader
from mofang.fit.families.surroundings import Surroundings
from mofang.fit.family import Family
from mofang.fit.size import Size

BASELINE = Surroundings()


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model of each piece by its neighbours and the question's words, then encoders."""
    based = tuple(Reader(base=base, max_length=256) for base in bases(size))
    return (Surroundings(), Reader(max_length=256), *based)
