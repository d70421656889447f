"""Static embeddings from how often tokens stand beside each other: positive pointwise mutual information, then its largest
singular vectors. Levy and Goldberg (2014) showed that skip-gram does the same implicitly; here it is a few products of
matrices, without epochs, and the same bytes for the same texts and seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mofang.engine.arrays import Array

WINDOW = 5
SMOOTHING = 0.75  # of the neighbours' frequency (Levy, Goldberg and Dagan 2015): rare neighbours count less
ROUNDS, BEYOND = 4, 16  # of the randomised range finder (Halko, Martinsson and Tropp 2011)
PAIRS_MOST = 40_000_000  # pairs of tokens that are counted; of more texts every so many-th is read


def embeddings(ids: Array, offsets: Array, size: int, width: int, seed: int) -> Array:
    """Vectors float32 [size, width] of token ids that lie end to end, text i at ``offsets[i]:offsets[i + 1]``.

    Tokens that never stand beside another have the zero vector; where there are fewer than ``width`` directions, the rest are
    zero.
    """
    from scipy.sparse import csr_array

    counts = _pairs(ids, offsets, size)
    rows, columns, together = counts.row, counts.col, counts.data
    alone = np.bincount(rows, together, size)
    smoothed = alone**SMOOTHING
    if not together.size:
        return np.zeros((size, width), np.float32)
    expected = alone[rows] * smoothed[columns] / smoothed.sum()
    strength = np.log(together / expected)
    kept = strength > 0
    matrix = csr_array((strength[kept], (rows[kept], columns[kept])), shape=(size, size))
    random = np.random.default_rng(seed)
    rank = min(width + BEYOND, size)
    basis = np.linalg.qr(matrix @ random.normal(size=(size, rank)))[0]
    for _ in range(ROUNDS):
        basis = np.linalg.qr(matrix.T @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    inner, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    found = (basis @ inner)[:, :width] * np.sqrt(values[:width])
    made = np.zeros((size, width), np.float32)
    made[:, : found.shape[1]] = found
    return made


def _pairs(ids: Array, offsets: Array, size: int) -> Any:
    """How often each token stands within ``WINDOW`` of each other one, nearer ones counting more; coordinates, summed."""
    from scipy.sparse import coo_array, csr_array

    lengths = np.diff(offsets)
    stride = max(1, round(2 * WINDOW * ids.size / PAIRS_MOST))
    texts = np.repeat(np.arange(lengths.size), lengths)
    if stride > 1:
        kept = texts % stride == 0
        ids, texts = ids[kept], texts[kept]
    counts = csr_array((size, size), dtype=np.float64)
    for distance in range(1, WINDOW + 1):
        same = texts[distance:] == texts[:-distance]
        left, right = ids[:-distance][same], ids[distance:][same]
        one = coo_array((np.full(left.size, 1.0 / distance), (left, right)), shape=(size, size)).tocsr()
        counts = counts + one + one.T.tocsr()
    return counts.tocoo()
