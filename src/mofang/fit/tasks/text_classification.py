"""Families for text classification: n-grams first, then encoders, the longer trained ones last."""

from __future__ import annotations

from mofang.core.errors import MofangError
from mofang.fit.families.averaged import Averaged
from mofang.fit.families.encoder import Encoder
from mofang.fit.families.linear import Linear
from mofang.fit.families.pretrained import Pretrained, base_folder
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model, averaged embeddings, encoders from scratch, and a pretrained encoder where one is
    installed.
    """
    scratch = (Encoder(), Encoder(layers=4, width=256, learning_rate=3e-4))
    try:
        base_folder(Pretrained().base)
    except MofangError:
        return (Linear(), Averaged(), *scratch)
    return (Linear(), Averaged(), Pretrained(), *scratch)
