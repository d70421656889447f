"""Documents of token ids cut into training rows: packed rows without padding, or pieces that are batched by length.

Packed rows suit generators: the documents of an epoch are laid end to end in an order of their own and cut every
``context`` tokens, so no position is padding. Pieces suit encoders: a piece is one document or a part of a long one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mofang.engine.arrays import Array, Arrays

IGNORED = -100  # a position at which nothing is predicted
ORDER = 11  # keeps the order of the documents apart from other draws of the same seed


@dataclass(frozen=True, eq=False)
class Documents:
    """Token ids end to end: document i is ``tokens[starts[i]:stops[i]]``, without special tokens around it."""

    tokens: Array
    starts: Array
    stops: Array

    @classmethod
    def between(cls, tokens: Array, offsets: Array, special: dict[str, int]) -> Documents:
        """The documents between the offsets, less a begin or end token that the shards carry."""
        starts, stops = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
        full = stops > starts
        ends = [special[name] for name in ("eos", "sep") if name in special]
        begins = [special[name] for name in ("bos", "cls") if name in special]
        if len(tokens):
            starts = starts + (full & np.isin(tokens[np.minimum(starts, len(tokens) - 1)], begins))
            full = stops > starts
            stops = stops - (full & np.isin(tokens[np.maximum(stops - 1, 0)], ends))
        kept = stops > starts
        return cls(tokens, starts[kept], stops[kept])

    @property
    def lengths(self) -> Array:
        """Tokens of each document."""
        return self.stops - self.starts

    def __len__(self) -> int:
        return len(self.starts)

    def ids(self, start: int, stop: int) -> Array:
        """The tokens between two places, int64."""
        return np.asarray(self.tokens[start:stop]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of exactly ``context`` inputs. A document begins with ``begin`` and its last target is ``end``; the next
    token of a document that goes on in the following row is a target too, so each token is predicted once an epoch.
    """

    documents: Documents
    context: int
    begin: int
    end: int
    seed: int = 0
    fixed: bool = False

    def __len__(self) -> int:
        return (self.total + self.context - 1) // self.context

    @cached_property
    def total(self) -> int:
        """Inputs of all documents together, each with its begin."""
        return int(self.documents.lengths.sum()) + len(self.documents)

    @property
    def lengths(self) -> Array:
        """Positions of each row."""
        return np.full(len(self), self.context, dtype=np.int64)

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """ids, targets, documents (1, 2, … within a row; 0 where a last row is not full) and positions, int64 [B, context]."""
        order, edges = self._layout(epoch)
        shape = (len(rows), self.context)
        made = {name: np.zeros(shape, np.int64) for name in ("ids", "documents", "positions")}
        made["targets"] = np.full(shape, IGNORED, np.int64)
        for place, row in enumerate(rows):
            start = int(row) * self.context
            stop = min(self.total, start + self.context)
            first = int(np.searchsorted(edges, start, side="right")) - 1
            at, number = start, 1
            while at < stop:
                until = min(stop, int(edges[first + 1]))
                inside = slice(at - start, until - start)
                ids, targets = self._piece(int(order[first]), at - int(edges[first]), until - at)
                made["ids"][place, inside], made["targets"][place, inside] = ids, targets
                made["documents"][place, inside] = number
                made["positions"][place, inside] = np.arange(until - at)
                at, first, number = until, first + 1, number + 1
        return made

    def _piece(self, document: int, skipped: int, count: int) -> tuple[Array, Array]:
        """Inputs and targets of a document's positions from ``skipped`` on."""
        start, stop = int(self.documents.starts[document]), int(self.documents.stops[document])
        whole = self.documents.ids(max(start, start + skipped - 1), min(stop, start + skipped + count))
        framed = np.concatenate([[self.begin] if skipped == 0 else [], whole, [self.end]]).astype(np.int64)
        return framed[:count], framed[1 : count + 1]

    def _layout(self, epoch: int) -> tuple[Array, Array]:
        """The documents in the order of an epoch, and where each begins in the stream."""
        count = len(self.documents)
        order = np.arange(count) if self.fixed else np.random.default_rng((self.seed, epoch, ORDER)).permutation(count)
        return order, np.concatenate([[0], np.cumsum(self.documents.lengths[order] + 1)])


@dataclass(frozen=True, eq=False)
class Pieces:
    """Rows of at most ``most`` tokens, each inside one document; a batch holds rows of similar length.

    ``around`` is how many special tokens a row gets besides.
    """

    documents: Documents
    most: int
    around: int = 2

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def _counts(self) -> Array:
        return -(-self.documents.lengths // self.most)

    @cached_property
    def of(self) -> Array:
        """Which document each row is from."""
        return np.repeat(np.arange(len(self.documents)), self._counts)

    @cached_property
    def firsts(self) -> Array:
        """The first row of each document."""
        return np.concatenate([[0], np.cumsum(self._counts)[:-1]]).astype(np.int64)

    @cached_property
    def starts(self) -> Array:
        """Where each row begins among all tokens."""
        within = np.arange(int(self._counts.sum())) - np.repeat(self.firsts, self._counts)
        found: Array = self.documents.starts[self.of] + within * self.most
        return found

    @cached_property
    def stops(self) -> Array:
        """Where each row ends."""
        found: Array = np.minimum(self.starts + self.most, self.documents.stops[self.of])
        return found

    @property
    def lengths(self) -> Array:
        """Positions of each row, its special tokens counted."""
        return self.stops - self.starts + self.around

    def ids(self, row: int) -> Array:
        """The tokens of a row, int64."""
        return self.documents.ids(int(self.starts[row]), int(self.stops[row]))


def padded(rows: list[Array], fill: int) -> Array:
    """Rows of different length as one int64 [B, longest], ``fill`` on the right."""
    made = np.full((len(rows), max(1, max(map(len, rows), default=1))), fill, np.int64)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return made


def present(rows: list[Array]) -> Array:
    """1 where a padded row has a token of its own, int64 [B, longest]."""
    return padded([np.ones(len(row), np.int64) for row in rows], 0)


def chance(seed: int, epoch: int, row: int, kind: int) -> np.random.Generator:
    """The random numbers of one row in one epoch for one kind of question; nothing else decides them."""
    return np.random.default_rng((seed, epoch, int(row), kind))
