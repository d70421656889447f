"""Families for pairs of texts: what they share first, then encoders that read both."""

from __future__ import annotations

from mofang.fit.body import bases
from mofang.fit.families.cross import Cross, Twin
from mofang.fit.families.overlap import Overlap
from mofang.fit.family import Family
from mofang.fit.size import Size

BASELINE = Overlap()


def candidates(size: Size) -> tuple[Family, ...]:
    """Overlap features, then encoders that read both texts together, and one that reads them apart."""
    based = tuple(Cross(base=base) for base in bases(size))
    return (Overlap(), Cross(), Twin(), *based, Cross(layers=4, width=256, learning_rate=3e-4))
