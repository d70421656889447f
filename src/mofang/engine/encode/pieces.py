"""The pieces of a text that are labelled one by one: a Chinese character, a word of other writing, a sign."""

from __future__ import annotations

import re

import numpy as np

from mofang.engine.arrays import Array

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
PIECE = re.compile(f"[{UNSPACED}]|[^\\W_{UNSPACED}]+|[^\\s]")

Place = tuple[int, int]


def pieces(text: str) -> list[Place]:
    """Begin and end of every piece in code points, in order; blanks belong to none."""
    return [found.span() for found in PIECE.finditer(text)]


def piece_of_each(text: str, places: list[Place]) -> Array:
    """For each code point the number of its piece, int32 [len(text)]; -1 for blanks."""
    made = np.full(len(text), -1, np.int32)
    for number, (start, end) in enumerate(places):
        made[start:end] = number
    return made
