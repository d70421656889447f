"""A Merkle tree over rows: one root on a document lets a customer check any row without seeing others.

The tree of RFC 6962 section 2.1 (RFC 9162 keeps it): SHA-256, a leaf hashed behind 0x00 and an inner node
behind 0x01, so that no row can pass for a node. Rows stream through; memory is one hash per level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def leaf_hash(row: bytes) -> bytes:
    """The hash of one row, 32 bytes."""
    return hashlib.sha256(b"\x00" + row).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbouring subtrees, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree that knows its root, and the inclusion proof of the one row it was told to watch."""

    def __init__(self, watch: int | None = None) -> None:
        self.size = 0
        self._watch = watch
        self._peaks: list[
            tuple[int, bytes, bool]
        ] = []  # complete subtrees: (rows, hash, holds the watched row)
        self._path: list[bytes] = []

    def add(self, row: bytes) -> None:
        """Append one row."""
        peak = (1, leaf_hash(row), self.size == self._watch)
        self.size += 1
        while self._peaks and self._peaks[-1][0] == peak[0]:
            peak = _join(self._peaks.pop(), peak, self._path)
        self._peaks.append(peak)

    def root(self) -> bytes:
        """The root over all rows so far; of no rows, the hash of nothing."""
        return self._close()[0]

    def proof(self) -> tuple[bytes, ...]:
        """The hashes beside the way from the watched row up to the root, lowest first."""
        assert self._watch is not None and self._watch < self.size, "the watched row was never added"
        return self._close()[1]

    def _close(self) -> tuple[bytes, tuple[bytes, ...]]:
        """Join the peaks from the right, as the RFC does, without changing the tree."""
        if not self._peaks:
            return hashlib.sha256(b"").digest(), ()
        path, top = list(self._path), self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            top = _join(peak, top, path)
        return top[1], tuple(path)


def _join(
    left: tuple[int, bytes, bool], right: tuple[int, bytes, bool], path: list[bytes]
) -> tuple[int, bytes, bool]:
    if left[2] or right[2]:
        path.append(right[1] if left[2] else left[1])
    return left[0] + right[0], node_hash(left[1], right[1]), left[2] or right[2]


def root(rows: Iterable[bytes]) -> bytes:
    """The root over the rows, 32 bytes."""
    tree = Tree()
    for row in rows:
        tree.add(row)
    return tree.root()


def inclusion_proof(rows: Iterable[bytes], index: int) -> tuple[bytes, ...]:
    """The proof that row ``index`` (from 0) is one of the rows; at most one hash per level of the tree."""
    tree = Tree(watch=index)
    for row in rows:
        tree.add(row)
    return tree.proof()


def verify_inclusion(row: bytes, index: int, size: int, proof: Sequence[bytes], top: bytes) -> bool:
    """Whether ``row`` is shown to stand at ``index`` of ``size`` rows under ``top`` (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf_hash(row)
    for beside in proof:
        if last == 0:
            return False
        if here & 1 or here == last:
            found = node_hash(beside, found)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, beside)
        here, last = here >> 1, last >> 1
    return last == 0 and found == top
