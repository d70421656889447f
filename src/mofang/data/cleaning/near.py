"""Near copies of texts: shingles, MinHash, banded hashing, then the exact overlap of each candidate pair.

MinHash follows Broder (1997), banding Leskovec, Rajaraman and Ullman (Mining of Massive Datasets, ch. 3).
Signatures only propose pairs; a pair counts when the Jaccard overlap of the two texts' shingles reaches the
threshold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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

U32 = npt.NDArray[np.uint32]
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


class NearCopies:
    """Collects texts batch by batch and then finds the pairs that are near copies of each other."""

    def __init__(self, scratch: Path, threshold: float) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.threshold = threshold
        self._scratch = scratch
        self._bands, self._width = bands_for(threshold)
        self._files = {
            name: (scratch / f"{name}.bin").open("wb")
            for name in ("rows", "shingles", "counts", *(f"band-{i}" for i in range(self._bands)))
        }

    def add(self, first_row: int, texts: Sequence[str]) -> None:
        """Sketch a batch of normalised texts whose row numbers begin at ``first_row``."""
        start = 0
        while start < len(texts):
            end, chars = start, 0
            while end < len(texts) and (end == start or chars + len(texts[end]) <= CHARS_AT_ONCE):
                chars += len(texts[end])
                end += 1
            self._add(first_row + start, [text.lower() for text in texts[start:end]])
            start = end

    def _add(self, first_row: int, texts: Sequence[str]) -> None:
        from rensa import RMinHash

        flat, offsets = shingles(texts)
        counts = np.diff(offsets)
        some = np.nonzero(counts)[0]
        if not len(some):
            return
        bounds = np.concatenate([offsets[:-1][some], offsets[-1:]]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(_spread(flat), bounds, PERMUTATIONS, SEED)
        minima = np.array(matrix.to_rows(), dtype=np.uint64)
        for band in range(self._bands):
            hashed = np.zeros(len(some), np.uint64)
            for column in range(band * self._width, (band + 1) * self._width):
                hashed = (hashed ^ (hashed >> np.uint64(29)) ^ minima[:, column]) * _MIX[column % 5]
            self._files[f"band-{band}"].write(hashed.tobytes())
        self._files["rows"].write((some + first_row).tobytes())
        self._files["shingles"].write(flat.tobytes())
        self._files["counts"].write(counts[some].tobytes())

    def _read(self, name: str, kind: Any) -> np.ndarray[Any, Any]:
        path = self._scratch / f"{name}.bin"
        return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)

    def pairs(self, signatures: np.ndarray[Any, Any], decisions: Decisions) -> npt.NDArray[np.int64]:
        """The pairs of rows [N, 2], among those that still stay, whose texts overlap enough."""
        for file in self._files.values():
            file.close()
        rows = self._read("rows", np.int64)
        flat = self._read("shingles", np.uint32)
        counts = self._read("counts", np.int64)
        live = np.nonzero(decisions.codes[rows] == KEEP)[0] if len(rows) else np.zeros(0, np.int64)
        if len(live) < 2:
            return np.zeros((0, 2), np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        ids = signatures["id"][rows[live]]
        new_here = ~decisions.kept_before[rows[live]]
        live = live[np.lexsort((ids[:, 1], ids[:, 0], new_here))]  # the order in which they are kept, from here on
        near = [(earlier, later) for later, found in self._confirmed(live, flat, offsets).items() for earlier in found]
        return np.asarray(rows[live[np.array(near, np.int64).reshape(-1, 2)]])

    def _confirmed(
        self, live: npt.NDArray[np.int64], flat: U32, offsets: npt.NDArray[np.int64]
    ) -> dict[int, set[int]]:
        """For each place the earlier places (smaller ids) whose texts overlap enough."""
        near: dict[int, set[int]] = defaultdict(set)
        checked: set[tuple[int, int]] = set()
        sizes = (offsets[1:] - offsets[:-1])[live]
        partitions = -(-len(live) // PARTITION_ROWS)
        for band in range(self._bands):
            hashed = self._read(f"band-{band}", np.uint64)[live]
            for partition in range(partitions):
                places = np.nonzero(hashed % np.uint64(partitions) == partition)[0]
                for earlier, later in _candidates(hashed[places], places, sizes, self.threshold):
                    if (earlier, later) in checked:
                        continue
                    checked.add((earlier, later))
                    a, b = (flat[offsets[live[one]] : offsets[live[one] + 1]] for one in (earlier, later))
                    if overlap(a, b) >= self.threshold:
                        near[later].add(earlier)
        return near


def _candidates(
    hashed: U64, places: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], threshold: float
) -> list[tuple[int, int]]:
    """Pairs in one bucket: each place with its bucket's first and with the next eight, if their sizes
    allow an overlap."""
    order = np.argsort(hashed, kind="stable")
    hashed, places = hashed[order], places[order]
    new = np.ones(len(hashed), np.bool_)
    new[1:] = hashed[1:] != hashed[:-1]
    first = np.maximum.accumulate(np.where(new, np.arange(len(hashed)), 0))
    pairs = [np.stack([places[first[~new]], places[~new]], axis=1)]
    for distance in range(1, NEIGHBOURS + 1):
        same = np.nonzero(hashed[distance:] == hashed[:-distance])[0]
        if not len(same):
            break
        pairs.append(np.stack([places[same], places[same + distance]], axis=1))
    found = np.unique(np.concatenate(pairs), axis=0)
    small, large = np.sort(sizes[found], axis=1).T
    return [(int(a), int(b)) for a, b in found[small >= threshold * large]]


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
