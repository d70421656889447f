"""Encoded rows held ready for batching: dense arrays as they are, texts ragged so that no padding is stored.

A row leaves here exactly as its encoder made it, apart from the padding on the right, which follows the
longest row of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.tokens import TokenEncoder

ENCODE_ROWS = 512


@dataclass(frozen=True)
class Dense:
    """Rows of one fixed shape (pixels, table features): ``arrays[name]`` is [rows, ...]."""

    arrays: Arrays

    @property
    def lengths(self) -> Array:
        """One per row: all rows cost the same."""
        return np.ones(len(next(iter(self.arrays.values()))), dtype=np.int64)

    def batch(self, rows: Array) -> Arrays:
        """The rows with these indices."""
        return {name: array[rows] for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Ragged:
    """Rows of different length, end to end: row i of ``flat[name]`` is ``offsets[i]:offsets[i + 1]``."""

    flat: Arrays
    offsets: Array
    fill: dict[str, int] = field(default_factory=dict)

    @property
    def lengths(self) -> Array:
        """Positions per row."""
        return np.diff(self.offsets)

    def batch(self, rows: Array) -> Arrays:
        """The rows with these indices, padded with ``fill`` (0 where it names nothing) to the longest of
        them.
        """
        longest = max(1, int(self.lengths[rows].max(initial=0)))
        shape = (len(rows), longest)
        made = {name: np.full(shape, self.fill.get(name, 0), flat.dtype) for name, flat in self.flat.items()}
        for place, row in enumerate(rows):
            start, stop = self.offsets[row], self.offsets[row + 1]
            for name, flat in self.flat.items():
                made[name][place, : stop - start] = flat[start:stop]
        return made


Encoded = Dense | Ragged


def encode_dense(encoder: Encoder, records: Sequence[Record]) -> Dense:
    """Encode every record; each array of the result is [rows, ...]."""
    starts = range(0, max(1, len(records)), ENCODE_ROWS)
    pieces = [encoder.encode(records[start : start + ENCODE_ROWS]) for start in starts]
    return Dense({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]})


def encode_ngrams(encoder: NgramEncoder, records: Sequence[Record]) -> Ragged:
    """Encode every record into n-gram ids and weights."""
    found = encoder.sparse(records)
    return Ragged({"ids": found.ids, "weights": found.weights}, found.offsets)


def encode_tokens(encoder: TokenEncoder, records: Sequence[Record]) -> Ragged:
    """Encode every record into token ids."""
    rows = [
        row
        for start in range(0, len(records), ENCODE_ROWS)
        for row in encoder.ids(records[start : start + ENCODE_ROWS])
    ]
    return ragged_tokens(rows, encoder.padding_id)


def ragged_tokens(rows: Sequence[Sequence[int]], padding_id: int) -> Ragged:
    """Rows of token ids, ready for batching."""
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    ids = np.fromiter((one for row in rows for one in row), dtype=np.int64, count=int(offsets[-1]))
    return Ragged(
        {"input_ids": ids, "attention_mask": np.ones_like(ids)}, offsets, {"input_ids": padding_id}
    )
