"""Masked language modelling (Devlin et al. 2018): 15 % of the tokens are hidden and asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.asking import TARGETS, OnPieces, Special, flat
from mofang.fit.pretraining.rows import chance, padded, present
from mofang.fit.pretraining.words import choose_words

SHARE, HIDDEN, REPLACED = 0.15, 0.8, 0.1  # of the chosen, 80 % become [MASK], 10 % another word, 10 % stay
KIND = 1


@dataclass(frozen=True, eq=False)
class Masked(OnPieces):
    """Whole words of each piece are chosen; each row and epoch draws its own."""

    name: ClassVar[str] = "mlm"

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """input_ids and attention_mask [B, L], ``where`` and ``targets`` [T]."""
        given, asked, answers = [], [], []
        for row in rows:
            ids, random = self.pieces.ids(row), chance(self.seed, epoch, row, KIND)
            places = choose_words(self.starts(ids), SHARE, random)
            answers.append(ids[places])
            given.append(self.special.framed(hidden(ids, places, self.special, random)))
            asked.append(places + 1)
        inputs = padded(given, self.special.pad)
        where = flat(asked, inputs.shape[1])
        return {"input_ids": inputs, "attention_mask": present(given), "where": where, TARGETS: np.concatenate(answers)}


def hidden(ids: Array, places: Array, special: Special, random: np.random.Generator) -> Array:
    """The ids with the chosen places masked (80 %), replaced by a random word (10 %) or left (10 %)."""
    made, draw = ids.copy(), random.random(len(places))
    made[places[draw < HIDDEN]] = special.mask
    replaced = places[(draw >= HIDDEN) & (draw < HIDDEN + REPLACED)]
    made[replaced] = special.random_words(len(replaced), random)
    return made
