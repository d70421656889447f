"""Validation in the midst of an epoch: an epoch is several rounds, each of which sees one of every K rows of like length.

The loop validates after a round and keeps the best weights. Every round has rows of the same lengths, so its batches
are those of the first, and each row is seen once an epoch (where K does not divide the rows, a few are seen twice).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mofang.engine.arrays import Array

TUPLES = 17  # keeps this draw apart from others of the same seed


@dataclass(frozen=True, eq=False)
class Rounds:
    """``count`` rounds an epoch over rows with these lengths."""

    whole: Array
    count: int
    seed: int

    @cached_property
    def _tuples(self) -> Array:
        """Rows of like length side by side, [ceil(N / count), count]."""
        order = np.random.default_rng((self.seed, TUPLES)).permutation(len(self.whole))
        order = order[np.argsort(self.whole[order], kind="stable")]
        missing = -len(order) % self.count
        return np.concatenate([order, np.resize(order[::-1], missing)]).reshape(-1, self.count)

    @cached_property
    def lengths(self) -> Array:
        """The greatest length of each tuple: what a round's row costs at most, int64 [ceil(N / count)]."""
        found: Array = self.whole[self._tuples].max(axis=1)
        return found

    def rows(self, places: Array, number: int) -> tuple[Array, int]:
        """The rows at these places of round ``number``, and the epoch that it belongs to."""
        epoch, turn = divmod(number, self.count)
        if self.count == 1:
            return self._tuples[places, 0], epoch
        shifts = np.random.default_rng((self.seed, epoch, TUPLES)).integers(self.count, size=len(self._tuples))
        return self._tuples[places, (shifts[places] + turn) % self.count], epoch
