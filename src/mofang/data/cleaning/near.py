"""Near copies of texts: shingles, MinHash, banded hashing, then a check of each candidate pair.

MinHash follows Broder (1997), of which the lowest 16 bits are kept (Li and König, 2010); banding follows Leskovec,
Rajaraman and Ullman (Mining of Massive Datasets, ch. 3). Signatures only propose pairs. Of short texts, compared by
characters, a pair counts when the exact Jaccard overlap of the shingles reaches the threshold; the candidates' texts are
read again for that. Of documents, compared by words in fives, the share of equal minima decides (128 of them: a standard
error of 0.03 at 0.85), so that no text is read twice. Memory holds one partition of the hashes, whatever the rows are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.duplicates import KEEP, PARTITION_ROWS, Decisions

MIN_CHARS = 5
PERMUTATIONS = 128
SEED = 20_151
SKETCH = 4096
CHARS_AT_ONCE = 1 << 20
NEIGHBOURS = 8
RECALL = 0.99
CHUNK_ROWS = 1 << 17
PAIRS_AT_ONCE = 1 << 14
SLACK = 0.15  # five standard errors: what a signature may underrate a pair that is then compared exactly

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
_MIX = [
    np.uint64(one)
    for one in (
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x27D4EB2F165667C5,
        0x85EBCA77C2B2AE63,
    )
]


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands and rows per band: the longest bands that still propose 99 % of pairs that lie at the
    threshold."""
    for rows in range(16, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def shingles(texts: Sequence[str]) -> tuple[U32, npt.NDArray[np.int64]]:
    """The distinct hashed shingles of each text, ascending, one after another, and where each text's begin.

    Chinese, Japanese and Korean texts are cut into 3 characters, others into 5. Of a very long text the 4,096
    smallest hashes stand for all (a bottom-k sketch). Texts below five characters have none.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), "<u4").astype(np.uint64)
    row = np.repeat(np.arange(len(texts)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(codes))
    dense = (
        np.bincount(row, weights=(codes >= 0x2E80) & (codes < 0xE000), minlength=len(texts)) > 0.2 * lengths
    )
    width = np.where(dense, 3, 5)[row]
    hashed = _rolled(codes, 3)
    five = _rolled(codes, 5)
    hashed[width == 5] = five[width == 5]
    usable = (left >= width) & (np.repeat(lengths, lengths) >= MIN_CHARS)
    keys = np.sort(row[usable].astype(np.uint64) << np.uint64(32) | hashed[usable])
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    owner = (keys >> np.uint64(32)).astype(np.int64)
    counts = np.bincount(owner, minlength=len(texts))
    place = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < SKETCH
    counts = np.minimum(counts, SKETCH)
    return (keys[kept] & np.uint64(0xFFFFFFFF)).astype(np.uint32), np.concatenate([[0], np.cumsum(counts)])


def _rolled(codes: U64, width: int) -> U64:
    """A 32-bit hash of every ``width`` neighbouring characters; the last ones wrap and are never used."""
    total = np.zeros(len(codes), np.uint64)
    for place in range(width):
        total += np.roll(codes, -place) * _MIX[place]
    total ^= total >> np.uint64(29)
    total *= _MIX[0]
    return total >> np.uint64(32)


class Signer:
    """Makes the signatures of texts: how many shingles each has, and 128 minima of 16 bits."""

    def __init__(self, words: bool) -> None:
        self._words = words

    def signed(self, texts: Sequence[str], given: tuple[U64, U64] | None) -> tuple[npt.NDArray[np.int32], U16]:
        """Sizes [N] and minima [N, 128]; ``given`` are the hashed word shingles and where each text's begin."""
        if self._words:
            assert given is not None, "documents are compared by the shingles of their words"
            flat, offsets = given
            return np.diff(offsets.astype(np.int64)).astype(np.int32), minima_of(flat, offsets.astype(np.uint64))
        sizes, minima = [np.zeros(0, np.int32)], [np.zeros((0, PERMUTATIONS), np.uint16)]
        for start, end in _stretches(texts):
            found, places = shingles([text.lower() for text in texts[start:end]])
            sizes.append(np.diff(places).astype(np.int32))
            minima.append(minima_of(_spread(found), places.astype(np.uint64)))
        return np.concatenate(sizes), np.concatenate(minima)


def minima_of(flat: U64, offsets: U64) -> U16:
    """The lowest 16 bits of each text's 128 minima; zeros for a text without shingles."""
    from rensa import RMinHash

    found = np.zeros((len(offsets) - 1, PERMUTATIONS), np.uint16)
    some = np.nonzero(np.diff(offsets.astype(np.int64)))[0]
    if len(some):
        bounds = np.concatenate([offsets[:-1][some], offsets[-1:]]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, bounds, PERMUTATIONS, SEED)
        found[some] = (np.array(matrix.to_rows(), np.uint64) & np.uint64(0xFFFF)).astype(np.uint16)
    return found


def _stretches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Neighbouring texts of about a megabyte together."""
    start = 0
    while start < len(texts):
        end, chars = start, 0
        while end < len(texts) and (end == start or chars + len(texts[end]) <= CHARS_AT_ONCE):
            chars += len(texts[end])
            end += 1
        yield start, end
        start = end


class NearCopies:
    """Collects signatures in the order of the rows and then finds the pairs that are near copies of each other.

    On the disk stand 260 bytes a row, and the hashes of all bands besides while the pairs are looked for.
    """

    def __init__(self, scratch: Path, threshold: float, *, words: bool) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.threshold = threshold
        self._words = words
        self._scratch = scratch
        self._bands, self._width = bands_for(threshold)
        names = ("sizes", "minima", *(f"band-{band}" for band in range(self._bands)))
        self._files = {name: (scratch / f"{name}.bin").open("wb") for name in names}

    def add(self, sizes: npt.NDArray[np.int32], minima: U16) -> None:
        """The signatures of the next rows."""
        self._files["sizes"].write(np.ascontiguousarray(sizes, "<i4").tobytes())
        self._files["minima"].write(np.ascontiguousarray(minima, "<u2").tobytes())
        wide = minima.astype(np.uint64)
        for band in range(self._bands):
            hashed = np.zeros(len(minima), np.uint64)
            for column in range(band * self._width, (band + 1) * self._width):
                hashed = (hashed ^ (hashed >> np.uint64(29)) ^ wide[:, column]) * _MIX[column % 5]
            self._files[f"band-{band}"].write(hashed.tobytes())

    def pairs(
        self, signed: np.ndarray[Any, Any], decisions: Decisions, texts_of: Callable[[I64], Iterator[list[str]]]
    ) -> I64:
        """The pairs of rows [N, 2], among those that still stay, whose texts overlap enough.

        ``texts_of`` reads the texts of ascending rows again, in batches; only short texts are.
        """
        for file in self._files.values():
            file.close()
        if len(signed) < 2:
            return np.zeros((0, 2), np.int64)
        sizes = np.memmap(self._scratch / "sizes.bin", "<i4", "r")
        found = np.zeros((0, 2), np.int64)
        for band in range(self._bands):
            fresh = [self._likely(pairs) for pairs in self._proposed(band, sizes, signed, decisions)]
            found = np.unique(np.concatenate([found, *fresh]), axis=0)
            (self._scratch / f"band-{band}.bin").unlink()
        if self._words or not len(found):
            return found
        return found[self._overlap(found, texts_of)]

    def _proposed(
        self, band: int, sizes: np.ndarray[Any, Any], signed: np.ndarray[Any, Any], decisions: Decisions
    ) -> Iterator[I64]:
        """Pairs of rows of one band, a partition of the hashes after the other."""
        path = self._scratch / f"band-{band}.bin"
        partitions = -(-len(signed) // PARTITION_ROWS)
        for partition in range(partitions):
            rows, hashes = [], []
            for first in range(0, len(signed), CHUNK_ROWS):
                hashed = np.fromfile(path, np.uint64, CHUNK_ROWS, offset=first * 8)
                span = slice(first, first + len(hashed))
                live = (decisions.codes[span] == KEEP) & (sizes[span] > 0)
                mine = np.nonzero(live & (hashed % np.uint64(partitions) == partition))[0]
                rows.append(mine + first)
                hashes.append(hashed[mine])
            yield _candidates(np.concatenate(hashes), np.concatenate(rows), signed, decisions)

    def _likely(self, pairs: I64) -> I64:
        """The pairs whose signatures agree enough. They are read, not mapped: mapped pages would count as memory."""
        least = self.threshold if self._words else self.threshold - SLACK
        good = [np.zeros(0, np.bool_)]
        with (self._scratch / "minima.bin").open("rb") as file:
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                rows, places = np.unique(pairs[start : start + PAIRS_AT_ONCE], return_inverse=True)
                minima, (one, other) = _read_rows(file.fileno(), rows), places.reshape(-1, 2).T
                good.append((minima[one] == minima[other]).mean(1) >= least)
        kept: I64 = pairs[np.concatenate(good)]
        return kept

    def _overlap(self, pairs: I64, texts_of: Callable[[I64], Iterator[list[str]]]) -> npt.NDArray[np.bool_]:
        """Which pairs overlap enough, by all their shingles."""
        rows = np.unique(pairs)
        counts = [np.zeros(1, np.int64)]
        with (self._scratch / "shingles.bin").open("wb") as file:
            for texts in texts_of(rows):
                for start, end in _stretches(texts):
                    flat, offsets = shingles([text.lower() for text in texts[start:end]])
                    file.write(flat.tobytes())
                    counts.append(np.diff(offsets))
        flat = np.memmap(self._scratch / "shingles.bin", np.uint32, "r")
        offsets = np.cumsum(np.concatenate(counts))
        places = np.searchsorted(rows, pairs)
        near = np.zeros(len(pairs), np.bool_)
        for number, (one, other) in enumerate(places.tolist()):
            a, b = (flat[offsets[place] : offsets[place + 1]] for place in (one, other))
            if min(len(a), len(b)) >= self.threshold * max(len(a), len(b)):
                near[number] = overlap(a, b) >= self.threshold
        return near


def _read_rows(file: int, rows: I64) -> U16:
    """The minima of these rows."""
    found = np.empty((len(rows), PERMUTATIONS), "<u2")
    view, width = found.data.cast("B"), 2 * PERMUTATIONS
    for place, row in enumerate(rows.tolist()):
        os.preadv(file, [view[place * width : (place + 1) * width]], row * width)
    return found


def _candidates(hashed: U64, rows: I64, signed: np.ndarray[Any, Any], decisions: Decisions) -> I64:
    """Pairs in one bucket: each row with its bucket's first and with the next eight, in the order in which they are kept."""
    ids = signed["id"][rows]
    order = np.lexsort((ids[:, 1], ids[:, 0], ~decisions.kept_before[rows], hashed))
    hashed, rows = hashed[order], rows[order]
    new = np.ones(len(hashed), np.bool_)
    new[1:] = hashed[1:] != hashed[:-1]
    first = np.maximum.accumulate(np.where(new, np.arange(len(hashed)), 0))
    pairs = [np.stack([rows[first[~new]], rows[~new]], axis=1)]
    for distance in range(1, NEIGHBOURS + 1):
        same = np.nonzero(hashed[distance:] == hashed[:-distance])[0]
        if not len(same):
            break
        pairs.append(np.stack([rows[same], rows[same + distance]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def overlap(a: U32, b: U32) -> float:
    """Jaccard overlap of two ascending sets of hashes; of sketches of long texts, its bottom-k estimate."""
    union = np.union1d(a, b)
    if len(a) == SKETCH or len(b) == SKETCH:
        union = union[:SKETCH]
        return float(np.mean(np.isin(union, a, assume_unique=True) & np.isin(union, b, assume_unique=True)))
    return (len(a) + len(b) - len(union)) / max(len(union), 1)


def _spread(flat: U32) -> U64:
    """64-bit hashes from 32-bit ones, as MinHash wants them."""
    spread = flat.astype(np.uint64) * _MIX[1]
    return spread ^ (spread >> np.uint64(31))
