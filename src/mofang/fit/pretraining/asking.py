"""What every kind of pretraining question needs: the rows, the vocabulary, and which ids are special."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.rows import Pieces
from mofang.fit.pretraining.words import Vocabulary

TARGETS = "targets"


class Asking(Protocol):
    """One kind of question asked of rows.

    ``arrays`` are the network's inputs with ``targets`` int64 [T] besides: one for each place of ``where``, or for each
    row where the answer is about the row.
    """

    name: ClassVar[str]

    @property
    def lengths(self) -> Array:
        """Positions of each row, int64 [N]."""

    @property
    def tokens(self) -> int:
        """How many tokens all rows stand for: what a loss per token is multiplied by to speak of whole texts."""

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """The rows with these indices, asked as this epoch asks them."""


@dataclass(frozen=True, eq=False)
class Special:
    """Ids with a meaning of their own; ``words`` is how many ids may stand for words (those below it)."""

    pad: int = 0
    cls: int = -1
    sep: int = -1
    mask: int = -1
    eos: int = -1
    words: int = 0
    taken: tuple[int, ...] = ()

    def framed(self, ids: Array) -> Array:
        """A text as an encoder reads it: [CLS], its tokens, [SEP]."""
        return np.concatenate([[self.cls], ids, [self.sep]])

    def random_words(self, count: int, random: np.random.Generator) -> Array:
        """Ids drawn from all that are not special."""
        free = np.setdiff1d(np.arange(self.words), self.taken)
        return random.choice(free, size=count)


@dataclass(frozen=True, eq=False)
class OnPieces:
    """A question about pieces of documents: the base of all that an encoder is asked."""

    pieces: Pieces
    special: Special
    vocabulary: Vocabulary
    seed: int
    whole_words: bool = True

    @property
    def lengths(self) -> Array:
        """Positions of each row, its special tokens counted."""
        return self.pieces.lengths

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.pieces.documents.lengths.sum())

    def starts(self, ids: Array) -> Array:
        """Where words begin; everywhere if tokens are hidden one by one."""
        return self.vocabulary.word_starts(ids) if self.whole_words else np.ones(len(ids), dtype=bool)


def flat(places: list[Array], width: int) -> Array:
    """Places within rows as places within the flattened [B * width]."""
    return np.concatenate([row * width + found for row, found in enumerate(places)]).astype(np.int64)
