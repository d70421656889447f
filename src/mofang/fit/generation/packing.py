"""Conversations end to end in rows of equal length; no token sees another conversation, and only answers are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mofang.engine.arrays import Array
from mofang.engine.encode.chat import Turn


@dataclass(frozen=True)
class Conversations:
    """Token ids of conversations end to end: ``offsets`` int64 [N + 1]; ``learnt`` marks the tokens of answers, ``letters``
    int64 [N] counts the UTF-8 bytes of the answers, ``cut`` the tokens that were left out at the beginning."""

    ids: Array
    learnt: Array
    offsets: Array
    letters: Array
    cut: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        """Tokens of each conversation."""
        return np.diff(self.offsets)

    def row(self, number: int) -> tuple[Array, Array]:
        """The ids of one conversation, and which of them are learnt."""
        begin, end = self.offsets[number], self.offsets[number + 1]
        return self.ids[begin:end], self.learnt[begin:end]


def put_together(conversations: Sequence[Sequence[Turn]], letters: Sequence[int], most: int) -> Conversations:
    """Conversations of at most ``most`` tokens: a longer one loses its beginning, and an answer that is itself longer than
    that keeps its beginning, with what little of the prompt fits."""
    ids: list[int] = []
    learnt: list[bool] = []
    offsets, cut = [0], []
    for turns in conversations:
        row = [one for turn in turns for one in turn.ids]
        marks = [turn.learnt for turn in turns for _ in turn.ids]
        over = max(0, len(row) - most)
        asked = marks.index(True) if True in marks else len(row)
        begin = min(over, max(0, asked - 1))  # something must stand before the first word that is learnt
        ids += row[begin : begin + most]
        learnt += marks[begin : begin + most]
        offsets.append(len(ids))
        cut.append(over)
    return Conversations(
        np.array(ids, np.int64), np.array(learnt, bool), np.array(offsets, np.int64), np.array(letters, np.int64),
        np.array(cut, np.int64),
    )


def pack(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Which of the rows share a packed row of at most ``width`` tokens: the longest first, each where it fits best."""
    bins: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        length = lengths[place]
        fitting = [number for number, left in enumerate(room) if left >= length]
        if fitting:
            chosen = min(fitting, key=lambda number: (room[number], number))
            bins[chosen].append(place)
            room[chosen] -= length
        else:
            bins.append([place])
            room.append(width - length)
    return bins


def packed_batch(rows: Sequence[tuple[Array, Array]], width: int = 0) -> dict[str, Tensor]:
    """Packed rows as tensors int64 [B, L]: ``input_ids``, ``documents`` (from 1; 0 is padding), ``places``, and bool
    ``learnt``: whether the token is to be learnt from what stands before it. ``origin`` says which row a token is of."""
    lengths = [len(ids) for ids, _ in rows]
    width = max(width, max(lengths, default=1))
    bins = pack(lengths, width)
    longest = max((sum(lengths[one] for one in bin) for bin in bins), default=1)
    shape = (len(bins), longest)
    made = {name: np.zeros(shape, np.int64) for name in ("input_ids", "documents", "places")}
    made["origin"] = np.full(shape, -1, np.int64)
    learnt = np.zeros(shape, bool)
    for number, bin in enumerate(bins):
        begin = 0
        for document, place in enumerate(bin, 1):
            ids, marks = rows[place]
            here = slice(begin, begin + len(ids))
            made["input_ids"][number, here], made["documents"][number, here] = ids, document
            made["places"][number, here], made["origin"][number, here] = np.arange(len(ids)), place
            learnt[number, here] = marks
            learnt[number, begin] = False  # nothing stands before a document's first token
            begin += len(ids)
    return {name: torch.from_numpy(value) for name, value in made.items()} | {"learnt": torch.from_numpy(learnt)}
