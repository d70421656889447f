"""Which rows go into which batch: rows of similar length together, the order of the batches shuffled.

Sorting alone would make the loss swing with the length; padding alone would cost a multiple of the useful
work. So each epoch shuffles the rows, sorts them within large groups, cuts batches by a budget of positions
and shuffles the batches. The result depends on nothing but (seed, epoch), so a killed run finds its place
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mofang.engine.arrays import Array

GROUP_BATCHES = 50


@dataclass(frozen=True)
class Batches:
    """A plan of batches over rows with the given lengths.

    ``rows`` is the most rows in a batch; ``positions`` the most padded positions in a batch (0: no such
    limit).
    """

    lengths: Array
    rows: int
    positions: int = 0
    seed: int = 0

    def epoch(self, number: int) -> list[Array]:
        """The batches of one epoch, every row in exactly one of them."""
        random = np.random.default_rng((self.seed, number))
        order = random.permutation(len(self.lengths))
        if int(self.lengths.max(initial=1)) == int(self.lengths.min(initial=1)):
            return self._cut(order)
        made: list[Array] = []
        group = GROUP_BATCHES * self.rows
        for start in range(0, len(order), group):
            some = order[start : start + group]
            made += self._cut(some[np.argsort(self.lengths[some], kind="stable")])
        return [made[place] for place in random.permutation(len(made))]

    def in_order(self) -> list[Array]:
        """All rows from short to long, for evaluation."""
        return self._cut(np.argsort(self.lengths, kind="stable"))

    def asked(self, ask: Callable[[Array], Array]) -> Array | None:
        """What ``ask`` gives for the rows of each batch, put together in the order of the rows; None where there are none."""
        made: Array | None = None
        for rows in self.in_order():
            found = ask(rows)
            made = np.zeros((len(self.lengths), *found.shape[1:]), found.dtype) if made is None else made
            made[rows] = found
        return made

    def _cut(self, order: Array) -> list[Array]:
        made, start, longest = [], 0, 0
        for place, row in enumerate(order):
            longest_with = max(longest, int(self.lengths[row]))
            count = place - start
            over = self.positions and longest_with * (count + 1) > self.positions
            if count and (count >= self.rows or over):
                made.append(order[start:place])
                start, longest_with = place, int(self.lengths[row])
            longest = longest_with
        if start < len(order):
            made.append(order[start:])
        return made
