"""Denoising by span corruption (Raffel et al. 2019): spans are cut out, and the decoder writes them down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.asking import TARGETS, OnPieces
from mofang.fit.pretraining.rows import IGNORED, chance, padded, present

SHARE, SPAN = 0.15, 3.0  # of the tokens are cut out, in spans of this mean length
SENTINELS = 100  # <extra_id_0> … are the last ids of the vocabulary, counted downwards
KIND = 4


@dataclass(frozen=True, eq=False)
class Denoising(OnPieces):
    """Spans of each piece are cut out; each row and epoch draws its own. ``first`` is the id of <extra_id_0>."""

    name: ClassVar[str] = "denoise"
    first: int = 0

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """input_ids and attention_mask [B, L], decoder_input_ids and decoder_attention_mask [B, M], ``where`` and
        ``targets`` [T].
        """
        given, wanted = [], []
        for row in rows:
            ids = self.pieces.ids(row)
            noise = spans(len(ids), chance(self.seed, epoch, row, KIND))
            given.append(np.append(replaced(ids, noise, self.first), self.special.eos))
            wanted.append(np.append(replaced(ids, ~noise, self.first), self.special.eos))
        targets = padded(wanted, IGNORED)
        decoder = np.concatenate([np.full((len(rows), 1), self.special.pad), np.maximum(targets[:, :-1], 0)], axis=1)
        decoder[:, 1:][targets[:, :-1] == IGNORED] = self.special.pad
        where = np.flatnonzero(targets != IGNORED)
        return {"input_ids": padded(given, self.special.pad), "attention_mask": present(given),
                "decoder_input_ids": decoder, "decoder_attention_mask": present(wanted),
                "where": where, TARGETS: targets.reshape(-1)[where]}


def spans(length: int, random: np.random.Generator) -> Array:
    """True where noise is, bool [L]: runs of kept and cut tokens in turn, beginning with kept and ending with cut.

    A single token is cut out whole. As in the T5 paper's code the numbers of tokens and of spans are fixed by the
    length, and only the borders are drawn.
    """
    if length < 2:
        return np.ones(length, dtype=bool)
    cut = min(max(round(length * SHARE), 1), length - 1)
    count = min(max(round(cut / SPAN), 1), SENTINELS - 1, length - cut)
    lengths = np.stack([_parts(length - cut, count, random), _parts(cut, count, random)], axis=1).reshape(-1)
    return np.repeat(np.tile([False, True], count), lengths)


def _parts(total: int, count: int, random: np.random.Generator) -> Array:
    """``total`` split into ``count`` positive numbers at random."""
    borders = np.sort(random.choice(total - 1, size=count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, np.int64)
    return np.diff(np.concatenate([[0], borders, [total]])).astype(np.int64)


def replaced(ids: Array, noise: Array, first: int) -> Array:
    """The ids with each run of noise replaced by one sentinel: ``first``, ``first - 1``, …"""
    begins = noise & ~np.concatenate([[False], noise[:-1]])
    made = np.where(begins, first + 1 - np.cumsum(begins), ids)
    found: Array = made[~noise | begins]
    return found
