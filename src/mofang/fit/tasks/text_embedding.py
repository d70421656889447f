"""Families for text embedding: n-gram embeddings first, then encoders, the pretrained one where it is installed."""

from __future__ import annotations

from mofang.core.errors import MofangError
from mofang.fit.families.pretrained import Pretrained, base_folder
from mofang.fit.families.termvectors import TermVectors
from mofang.fit.families.textvectors import TextVectors
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """Averaged n-gram embeddings, a small encoder from nothing, and a pretrained encoder where one is installed."""
    base = Pretrained().base
    try:
        base_folder(base)
    except MofangError:
        return (TermVectors(), TextVectors())
    return (TermVectors(), TextVectors(), TextVectors(base=base))
