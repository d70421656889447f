"""Hashed shingles for MinHash: windows of five words (in Chinese five characters), from the token hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text.tokens import Hashes, Ints, Scan

WIDTH = 5
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63], np.uint64
)
_S29, _S32 = np.uint64(29), np.uint64(32)


def windows(words: Hashes, offsets: Ints, width: int = WIDTH) -> tuple[Hashes, Ints]:
    """A hash of each run of ``width`` words that lies within one text, and the first of each text.

    A text with fewer words, but one at least, has one shingle of all its words.
    """
    sizes = np.diff(offsets)
    counts = np.where(sizes >= width, sizes - width + 1, np.minimum(sizes, 1))
    made = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=made[1:])
    reach = max(len(words) - width + 1, 0)
    mixed = words[:reach] * _FACTORS[0]
    for place in range(1, width):
        mixed = (mixed ^ mixed >> _S29) * _FACTORS[0] + words[place : place + reach] * _FACTORS[place % len(_FACTORS)]
    mixed ^= mixed >> _S32
    inside = np.ones(reach, bool)
    for back in range(1, width):  # windows that begin in a text's last words run over its end
        late = offsets[1:] - back
        late = late[(late >= 0) & (late < reach)]
        inside[late] = False
    shingles = np.zeros(int(made[-1]), np.uint64)
    long = np.repeat(sizes >= width, counts)
    shingles[long] = mixed[inside]
    for text in np.flatnonzero((sizes < width) & (sizes > 0)).tolist():
        value = int(sizes[text])
        for word in words[offsets[text] : offsets[text + 1]].tolist():
            value = (value * int(_FACTORS[0]) + word) % (1 << 64)
        shingles[made[text]] = value
    return shingles, made


def of_scan(scan: Scan) -> tuple[Hashes, Ints]:
    """The shingles of a chunk of texts: of their words, capitals as small letters and every digit as 0."""
    return windows(scan.word_hashes, scan.word_offsets)


def in_order(parts: Sequence[tuple[Ints, Hashes, Ints]], texts: int) -> tuple[Hashes, Ints]:
    """Shingles of chunks (rows, shingles, offsets) as one array in the order of the texts."""
    counts = np.zeros(texts + 1, np.int64)
    for rows, _, offsets in parts:
        counts[rows + 1] = np.diff(offsets)
    starts = np.cumsum(counts)
    if len(parts) == 1:
        return parts[0][1], starts
    flat = np.zeros(int(starts[-1]), np.uint64)
    for rows, shingles, offsets in parts:
        for row, first, last in zip(rows.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            flat[starts[row] : starts[row + 1]] = shingles[first:last]
    return flat, starts


def signatures(shingles: Hashes, offsets: Ints, permutations: int = 112, seed: int = 42) -> npt.NDArray[np.uint32]:
    """The MinHash signature of each text (text × permutation), by rensa."""
    from rensa import RMinHash

    made = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets.astype(np.uint64), permutations, seed)
    return np.asarray(made.to_rows() if hasattr(made, "to_rows") else made, np.uint32)
