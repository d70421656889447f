"""Permuted language modelling (Yang et al. 2019): tokens are asked for in any order, each from those before it in the order.

Two streams in one pass: the row's own tokens are followed by one query for each token that is asked for. A query is a
[MASK] at its token's position and sees what stands earlier in the order, never its token; the token's own state, which
does know it, is seen only by what comes later. As in XLNet a sixth of the tokens is asked for and the others are given.
A plain encoder learns this without a body of its own (docs/decisions/025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.asking import TARGETS, OnPieces
from mofang.fit.pretraining.rows import chance, padded
from mofang.fit.pretraining.words import choose_words

SHARE = 1 / 6
KIND = 2


@dataclass(frozen=True, eq=False)
class Permuted(OnPieces):
    """Whole words are chosen, and an order over all their tokens; each row and epoch draws its own."""

    name: ClassVar[str] = "plm"

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """input_ids and position_ids [B, L + Q], ``sees`` bool [B, L + Q, L + Q], ``where`` and ``targets`` [T]."""
        given, positions, asked, answers = [], [], [], []
        for row in rows:
            ids, random = self.pieces.ids(row), chance(self.seed, epoch, row, KIND)
            places = random.permutation(choose_words(self.starts(ids), SHARE, random))
            answers.append(ids[places])
            text = self.special.framed(ids)
            given.append(np.concatenate([text, np.full(len(places), self.special.mask)]))
            positions.append(np.concatenate([np.arange(len(text)), places + 1]))
            asked.append(places + 1)
        inputs = padded(given, self.special.pad)
        sees = np.zeros((*inputs.shape, inputs.shape[1]), dtype=bool)
        sees[:, np.arange(inputs.shape[1]), np.arange(inputs.shape[1])] = True  # padding sees itself, so no row is empty
        for place, (whole, places) in enumerate(zip(given, asked, strict=True)):
            sees[place, : len(whole), : len(whole)] = seen(len(whole) - len(places), places)
        where = np.concatenate([
            row * inputs.shape[1] + len(whole) - len(places) + np.arange(len(places))
            for row, (whole, places) in enumerate(zip(given, asked, strict=True))
        ])
        return {"input_ids": inputs, "position_ids": padded(positions, 0), "sees": sees, "where": where.astype(np.int64),
                TARGETS: np.concatenate(answers)}


def seen(length: int, places: Array) -> Array:
    """Who sees whom, bool [L + Q, L + Q]: ``places`` of a row of ``length`` are asked for in this order.

    What is not asked for has rank 0 and is seen by all; a token sees what has its rank or less, a query only less, and
    itself. Nobody else sees a query.
    """
    rank = np.zeros(length, dtype=np.int64)
    rank[places] = 1 + np.arange(len(places))
    made = np.zeros((length + len(places),) * 2, dtype=bool)
    made[:length, :length] = rank[:, None] >= rank[None, :]
    made[length:, :length] = rank[places][:, None] > rank[None, :]
    made[np.arange(len(made)), np.arange(len(made))] = True
    return made
