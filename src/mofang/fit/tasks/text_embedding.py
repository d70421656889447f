"""Families for text embedding: n-gram embeddings first, then encoders, the pretrained one where it is installed."""

from __future__ import annotations

from mofang.fit.body import bases
from mofang.fit.families.termvectors import TermVectors
from mofang.fit.families.textvectors import TextVectors
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """Averaged n-gram embeddings, a small encoder from nothing, and the pretrained encoders that read the texts' language."""
    return (TermVectors(), TextVectors(), *(TextVectors(base=base) for base in bases(size)))
