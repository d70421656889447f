"""Exact copies and conflicting labels: sign every record, group the signatures, decide which copy stays.

Signatures lie in files of the run's scratch folder and are grouped partition by partition, so that memory
holds one partition however many records there are. Which copy stays depends on what an earlier cleaning kept and on
ids, never on the order of the records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

SIGNATURE = np.dtype([("text", "<u8", 2), ("label", "<u8"), ("id", "<u8", 2)])
PARTITION_ROWS = 1 << 21

KEEP, DUPLICATE, CONFLICT, NEAR_DUPLICATE = 0, 1, 2, 3
REASONS = ("", "duplicate", "conflicting-labels", "near-duplicate")


class Decisions:
    """For each row, by number, a code (``KEEP`` or an index into a list of reasons), the row that stays in its place,
    and whether an earlier cleaning had kept it."""

    def __init__(self, scratch: Path, rows: int) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.codes = np.memmap(scratch / "codes.bin", np.uint8, "w+", shape=max(rows, 1))[:rows]
        self.kept_before = np.zeros(rows, np.bool_)
        self.survivors = np.memmap(scratch / "survivors.bin", np.int64, "w+", shape=max(rows, 1))[:rows]


class Signatures:
    """The signature file: what each record says (without the label), its label, and its id, 40 bytes a
    record."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._path = scratch / "signatures.bin"
        self._file = self._path.open("wb")
        self.rows = 0

    def add(self, contents: bytes, labels: npt.NDArray[np.uint64], ids: Sequence[str]) -> None:
        """The next records: digests of 16 bytes one after another (equal for two records that are copies), keys of the
        labels, and ids."""
        signed = np.zeros(len(ids), SIGNATURE)
        signed["text"] = np.frombuffer(contents, "<u8").reshape(-1, 2)
        signed["label"] = labels
        signed["id"] = np.frombuffer(bytes.fromhex("".join(ids)), ">u8").reshape(-1, 2)
        self._file.write(signed.tobytes())
        self.rows += len(ids)

    def table(self) -> np.ndarray[Any, Any]:
        """All signatures, mapped from the file."""
        self._file.close()
        return np.memmap(self._path, SIGNATURE, "r") if self.rows else np.zeros(0, SIGNATURE)


def label_key(label: str | None) -> int:
    """A 64-bit key of a label; 0 where there is none."""
    return (
        int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "little") | 1 if label else 0
    )


def content_of(values: Sequence[Any], media: Sequence[bytes]) -> bytes:
    """The bytes that two exact copies share: canonical JSON of the values, then digests of the media."""
    return orjson.dumps(list(values)) + b"".join(hashlib.sha256(one).digest() for one in media)


def decide_copies(signatures: np.ndarray[Any, Any], decisions: Decisions, *, reject_conflicts: bool) -> None:
    """Mark exact copies, keeping the one that was kept before or else the smallest id, and (if asked) every copy of a
    record whose copies differ in label.

    A copy without a label gives way to one with a label. Rows that already have a code are left alone.
    """
    partitions = -(-len(signatures) // PARTITION_ROWS)
    for partition in range(partitions):
        mine = signatures["text"][:, 0] % np.uint64(partitions) == partition
        rows = np.nonzero(mine & (decisions.codes == KEEP))[0]
        _decide_partition(signatures[rows], rows, decisions, reject_conflicts)


def _decide_partition(
    signed: np.ndarray[Any, Any], rows: npt.NDArray[np.int64], decisions: Decisions, reject_conflicts: bool
) -> None:
    if len(rows) < 2:
        return
    text, label, ids = signed["text"], signed["label"], signed["id"]
    new_here = ~decisions.kept_before[rows]
    grouping = label if not reject_conflicts else np.zeros_like(label)
    order = np.lexsort((ids[:, 1], ids[:, 0], new_here, label == 0, grouping, text[:, 1], text[:, 0]))
    text, label, grouping, rows = text[order], label[order], grouping[order], rows[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = np.any(text[1:] != text[:-1], axis=1) | (grouping[1:] != grouping[:-1])
    starts = np.nonzero(new)[0]
    group = np.cumsum(new) - 1
    copies = ~new
    decisions.codes[rows[copies]] = DUPLICATE
    decisions.survivors[rows] = rows[starts][group]
    if reject_conflicts:
        highest = np.maximum.reduceat(label, starts)
        lowest = np.minimum.reduceat(np.where(label == 0, np.iinfo(np.uint64).max, label), starts)
        conflicting = (highest > 0) & (lowest != highest)
        decisions.codes[rows[conflicting[group]]] = CONFLICT


def in_order(rows: npt.NDArray[np.int64], signatures: np.ndarray[Any, Any], decisions: Decisions) -> npt.NDArray[np.int64]:
    """The rows in the order in which near copies are kept: those kept before first, then by id."""
    ids = signatures["id"][rows]
    return rows[np.lexsort((ids[:, 1], ids[:, 0], ~decisions.kept_before[rows]))]


def keep_first(pairs: npt.NDArray[np.int64], signatures: np.ndarray[Any, Any], decisions: Decisions) -> npt.NDArray[np.int64]:
    """Mark near copies of one label, each a near copy of one that stays; ``pairs`` are rows [N, 2] that are near copies.

    Returns the pairs that stay on both sides, because their labels differ: they belong on one side of a split.
    """
    if not len(pairs):
        return pairs.reshape(-1, 2)
    rows = in_order(np.unique(pairs), signatures, decisions)
    by_row = np.argsort(rows)
    places = np.sort(by_row[np.searchsorted(rows, pairs, sorter=by_row)], axis=1)
    places = places[np.lexsort((places[:, 0], places[:, 1]))]
    labels = signatures["label"][rows]
    alike = labels[places[:, 0]] == labels[places[:, 1]]
    gone = np.zeros(len(rows), np.bool_)
    for first, second in places[alike]:  # by the second, so that what stands before it is settled
        if not gone[second] and not gone[first]:
            gone[second] = True
            decisions.codes[rows[second]] = NEAR_DUPLICATE
            decisions.survivors[rows[second]] = rows[first]
    return rows[places[~gone[places].any(axis=1)]]
