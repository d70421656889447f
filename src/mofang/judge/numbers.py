"""Numbers against the true ones: squared and absolute error, the share of variance explained, and rank correlation.

R2 is 1 for exact answers, 0 for always answering the mean, and below 0 for worse; Spearman's correlation asks only whether the
order is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.core.metrics import Floats, Ints
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Record
from mofang.engine.graphs import NUMBER
from mofang.engine.task import Answer

OVERALL = ("r2", "mse", "mae", "spearman")


class Measured:
    """Numbers of one model beside the true ones."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: Array, outputs: Arrays, answers: Sequence[Answer]
    ) -> None:
        self.names = [(name, "") for name in OVERALL]
        self.true = np.asarray(truth, np.float64)
        self.said = outputs[NUMBER][:, 0].astype(np.float64)
        self.truth, self.answers = [f"{one:.7g}" for one in self.true], [f"{one['value']:.7g}" for one in answers]

    def of(self, weights: Ints) -> Floats:
        """The figures in the order of ``names``; NaN where the records drawn have no variance."""
        total = max(1.0, float(weights.sum()))
        errors = self.said - self.true
        mean = float(weights @ self.true) / total
        spread = float(weights @ (self.true - mean) ** 2)
        squared = float(weights @ errors**2)
        r2 = 1 - squared / spread if spread else float("nan")
        return np.array([r2, squared / total, float(weights @ np.abs(errors)) / total, spearman(self.true, self.said, weights)])

    def mistakes(self) -> list[tuple[int, float]]:
        """All records, the farthest off first."""
        off = np.abs(self.said - self.true)
        return [(int(row), float(off[row])) for row in np.argsort(-off, kind="stable") if off[row] > 0]


def spearman(left: Floats, right: Floats, weights: Ints) -> float:
    """The correlation of ranks, each record counted as often as ``weights`` says, ties sharing their mean rank."""
    ranks = [_ranks(one, weights) for one in (left, right)]
    total = max(1.0, float(weights.sum()))
    centred = [one - float(weights @ one) / total for one in ranks]
    spreads = [float(weights @ one**2) for one in centred]
    if not spreads[0] or not spreads[1]:
        return float("nan")
    return float(weights @ (centred[0] * centred[1])) / float(np.sqrt(spreads[0] * spreads[1]))


def _ranks(values: Floats, weights: Ints) -> Floats:
    """The mean rank of each record among as many copies of all records as the weights say."""
    _, where = np.unique(values, return_inverse=True)
    counts = np.bincount(where, weights)
    before = np.cumsum(counts) - counts
    found: Floats = (before + (counts + 1) / 2)[where]
    return found
