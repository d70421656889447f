"""Families for image classification: a linear model and dense layers first, then residual networks."""

from __future__ import annotations

from mofang.fit.families.linear import Linear
from mofang.fit.families.mlp import Mlp
from mofang.fit.families.resnet import Resnet
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model, dense layers, and residual networks of growing depth and width."""
    return (Linear(), Mlp(), Resnet(), Resnet(depth=14, width=24), Resnet(depth=20, width=32))
