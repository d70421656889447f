"""Texts that belong together: how a training row names them, and the vectors by which they are found again."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from mofang.engine.arrays import Array

OUTPUT = "embedding"
LEAST = 1e-12


@dataclass(frozen=True)
class Positive:
    """The text that belongs to an input, and texts that look as if they did (hard negatives)."""

    text: str
    negatives: tuple[str, ...] = ()


def read_positive(value: str) -> Positive:
    """The value of a target column: the text itself, or JSON ``{"positive": "…", "negatives": ["…"]}``."""
    if value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except ValueError:
            return Positive(value)
        if isinstance(found, dict) and isinstance(found.get("positive"), str):
            negatives = found.get("negatives") or []
            texts = [negatives] if isinstance(negatives, str) else negatives
            return Positive(found["positive"], tuple(str(one) for one in texts if str(one).strip()))
    return Positive(value)


def normalised(vectors: Array, dims: int = 0) -> Array:
    """Vectors float32 [N, D] of length 1, cut to the first ``dims`` (0: all of them); zeros stay zeros."""
    kept = vectors[:, :dims] if dims else vectors
    lengths = np.sqrt(np.einsum("nd,nd->n", kept, kept, dtype=np.float64))[:, None]
    found: Array = (kept / np.maximum(lengths, LEAST)).astype(np.float32)
    return found


def ranks(queries: Array, texts: Array, places: Array, *, block: int = 4096) -> Array:
    """At which rank, int64 [Q], the text that belongs to each query stands among all texts by inner product.

    ``queries`` float32 [Q, D], ``texts`` float32 [T, D], ``places`` int64 [Q] of what belongs. A text that scores as
    high as the right one counts as standing before it, so vectors that are all alike find nothing.
    """
    found = np.zeros(len(queries), np.int64)
    for begin in range(0, len(queries), block):
        rows = slice(begin, begin + block)
        scores = queries[rows] @ texts.T
        right = np.take_along_axis(scores, places[rows, None], axis=1)
        found[rows] = (scores >= right).sum(axis=1)
    return np.maximum(found, 1)
