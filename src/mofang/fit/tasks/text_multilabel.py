"""Families for several labels of a text: the same as for one label."""

from __future__ import annotations

from mofang.fit.family import Family
from mofang.fit.size import Size
from mofang.fit.tasks.text_classification import from_nothing, is_installed, pretrained


def candidates(size: Size) -> tuple[Family, ...]:
    """What suits one label of a text suits this too; encoders by themselves."""
    return (*from_nothing(), *(one for one in pretrained(size.language) if is_installed(one.base)))
