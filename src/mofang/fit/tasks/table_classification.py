"""Families for table classification: a linear model, boosted trees, dense layers."""

from __future__ import annotations

from mofang.fit.families.linear import Linear
from mofang.fit.families.mlp import Mlp
from mofang.fit.families.xgboost import Xgboost
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model, boosted trees (and slower learning ones), dense layers."""
    return (Linear(), Xgboost(), Mlp(), Xgboost(rounds=2000, learning_rate=0.03, depth=5))
