"""An index from record ids to rows: sorted 64-bit beginnings of the ids, and the row of each.

Looking up n ids among m costs n binary searches, never a pass over m rows with their content.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mofang.core.artifact import Artifact

MOST = 16  # indexes kept in memory


class Index:
    """Sorted keys with their rows; ids are 128-bit keyed digests, of which the first 64 bits are compared here."""

    _kept: OrderedDict[str, Index] = OrderedDict()  # noqa: RUF012
    _lock = threading.Lock()

    def __init__(self, keys: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint32]) -> None:
        self.sorted, self.at = keys, rows

    @staticmethod
    def keys(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
        """The first 64 bits of ids of 32 hexadecimal digits; any other text is hashed to as many."""
        try:
            raw = bytes.fromhex("".join(ids))
            if len(raw) == 16 * len(ids) and all(len(one) == 32 for one in ids):
                return np.frombuffer(raw, ">u8")[::2].astype(np.uint64)
        except ValueError:
            pass
        return np.array([_key(one) for one in ids], np.uint64)

    @classmethod
    def build(cls, keys: npt.NDArray[np.uint64]) -> Self:
        """The index of keys in the order of their rows."""
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        return cls(keys[order], order)

    def data(self) -> bytes:
        """As it is stored: the number of keys, the keys, the rows."""
        return b"".join([np.uint64(len(self.sorted)).tobytes(), self.sorted.astype("<u8").tobytes(),
                         self.at.astype("<u4").tobytes()])

    @classmethod
    def of(cls, artifact: Artifact, part: str = "tasks.index") -> Index:
        """An artifact's index; the last used ones stay in memory."""
        digest = f"{artifact.shop.path} {artifact.part(part).digest}"
        with cls._lock:
            if digest in cls._kept:
                cls._kept.move_to_end(digest)
                return cls._kept[digest]
        with artifact.open(part) as file:
            raw = file.read()
        count = int(np.frombuffer(raw[:8], "<u8")[0])
        found = Index(np.frombuffer(raw, "<u8", count, 8), np.frombuffer(raw, "<u4", count, 8 + 8 * count))
        with cls._lock:
            cls._kept[digest] = found
            while len(cls._kept) > MOST:
                cls._kept.popitem(last=False)
        return found

    @classmethod
    def over(cls, artifact: Artifact, part: str) -> Index:
        """An index made now over the ids of a part, where an erasure took rows out of it."""
        import pyarrow.parquet as pq

        digest = f"{artifact.shop.path} over {artifact.part(part).digest}"
        with cls._lock:
            if digest in cls._kept:
                return cls._kept[digest]
        with artifact.open(part) as file:
            ids = pq.read_table(file, columns=["id"], use_threads=False, pre_buffer=False).column(0)
        found = cls.build(cls.keys(ids.to_pylist()))
        with cls._lock:
            cls._kept[digest] = found
        return found

    def rows(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The first row of each key; -1 where it is not there."""
        if not len(self.sorted):
            return np.full(len(keys), -1, np.int64)
        order = np.argsort(keys, kind="stable")  # neighbours are looked up one after another, which the cache likes
        places = np.minimum(np.searchsorted(self.sorted, keys[order]), len(self.sorted) - 1)
        found = np.empty(len(keys), np.int64)
        found[order] = np.where(self.sorted[places] == keys[order], self.at[places].astype(np.int64), -1)
        return found

    def all_rows(self, key: int) -> list[int]:
        """Every row of one key, in order."""
        low = np.searchsorted(self.sorted, np.uint64(key), "left")
        high = np.searchsorted(self.sorted, np.uint64(key), "right")
        return sorted(int(one) for one in self.at[low:high])


def _key(id: str) -> int:
    import hashlib

    if len(id) == 32 and all(one in "0123456789abcdef" for one in id):
        return int(id[:16], 16)
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def index_of(columns: Sequence[Any]) -> Index:
    """The index over arrays of keys that were gathered batch by batch."""
    return Index.build(np.concatenate([*columns, np.zeros(0, np.uint64)]))
