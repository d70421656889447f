"""An answer out of the probability of each piece to begin and to end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.encode.pieces import Place

LONGEST = 64       # pieces of an answer at most

NONE: dict[str, Any] = {"text": "", "start": None, "end": None}


def answer_of(text: str, places: Sequence[Place], found: Array) -> dict[str, Any]:
    """{"text", "start", "end", "score"} for probabilities [1 + P, 2] of where the answer begins and ends, none being 0.

    The answer is the likeliest stretch of at most 64 pieces, or none where that is likelier; the score is its probability.
    """
    none = float(found[0, 0]) * float(found[0, 1])
    begins, ends = found[1:1 + len(places), 0].astype(np.float64), found[1:1 + len(places), 1].astype(np.float64)
    best, where = 0.0, (0, 0)
    for length in range(min(LONGEST, len(places))):
        together = begins[: len(begins) - length] * ends[length:]
        first = int(together.argmax())
        if together[first] > best:
            best, where = float(together[first]), (first, first + length)
    if best <= none:
        return {**NONE, "score": round(none, 6)}
    start, end = places[where[0]][0], places[where[1]][1]
    return {"text": text[start:end], "start": start, "end": end, "score": round(best, 6)}
