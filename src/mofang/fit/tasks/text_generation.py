"""Families for text generation: a small decoder from nothing; a pretrained one where its folder is named."""

from __future__ import annotations

from mofang.fit.families.generator import Generator
from mofang.fit.family import Family
from mofang.fit.size import Size


def candidates(size: Size) -> tuple[Family, ...]:
    """Decoders from nothing, a smaller and a larger one."""
    return (Generator(layers=2, width=128), Generator())
