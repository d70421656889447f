"""Families for image classification."""

from __future__ import annotations

from mofang.fit.families.linear import Linear
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """Families for images."""
    return (Linear(),)
