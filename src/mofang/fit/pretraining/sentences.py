"""Next sentence prediction (Devlin et al. 2018): does the second part follow the first, or is it from elsewhere?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.asking import TARGETS, OnPieces
from mofang.fit.pretraining.rows import chance, padded, present

KIND = 3
FOLLOWS, ELSEWHERE = 0, 1  # as in BERT


@dataclass(frozen=True, eq=False)
class NextSentence(OnPieces):
    """A piece cut in two at the sentence end next to its middle; half of the rows get a second part of another document."""

    name: ClassVar[str] = "nsp"

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """input_ids, attention_mask and token_type_ids [B, L], ``targets`` [B]: 0 it follows, 1 it does not."""
        given, kinds, answers = [], [], []
        for row in rows:
            first, second, answer = self.pair(int(row), epoch)
            given.append(np.concatenate([self.special.framed(first), second, [self.special.sep]]))
            kinds.append(np.concatenate([np.zeros(len(first) + 2, np.int64), np.ones(len(second) + 1, np.int64)]))
            answers.append(answer)
        return {"input_ids": padded(given, self.special.pad), "attention_mask": present(given),
                "token_type_ids": padded(kinds, 0), TARGETS: np.array(answers, dtype=np.int64)}

    def pair(self, row: int, epoch: int) -> tuple[Array, Array, int]:
        """Both parts of a row and the answer."""
        random = chance(self.seed, epoch, row, KIND)
        ids = self.pieces.ids(row)
        at = cut(ids, self.vocabulary.ends)
        if len(ids) > 1 and random.random() < 0.5:
            return ids[:at], ids[at:], FOLLOWS
        room = max(1, self.pieces.most - at)
        return ids[:at], self._elsewhere(int(self.pieces.of[row]), random)[:room], ELSEWHERE

    def _elsewhere(self, document: int, random: np.random.Generator) -> Array:
        """The second part of a piece of another document."""
        count = len(self.pieces.documents)
        other = (document + 1 + int(random.integers(count - 1))) % count
        last = int(self.pieces.firsts[other + 1]) if other + 1 < count else len(self.pieces)
        ids = self.pieces.ids(int(random.integers(int(self.pieces.firsts[other]), last)))
        return ids[cut(ids, self.vocabulary.ends) :] if len(ids) > 1 else ids


def cut(ids: Array, ends: Array) -> int:
    """Where to cut: behind the sentence end next to the middle, in the middle where there is none; never at the borders."""
    if len(ids) < 2:
        return len(ids)
    places = np.flatnonzero(ends[ids[:-1]]) + 1
    middle = len(ids) // 2
    return int(places[np.abs(places - middle).argmin()]) if len(places) else middle
