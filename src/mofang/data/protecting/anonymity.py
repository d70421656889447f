"""k-anonymity (Samarati and Sweeney, 1998) and l-diversity (Machanavajjhala and others, 2007) of a table.

Records that agree in all quasi-identifiers are a class; who is in a class of five is one of five. Classes are counted by
keyed digests of their values, eight bytes for each record, so that a table need not fit into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

STAR = "*"
Codes = npt.NDArray[np.uint64]


class Classes:
    """Which class each record is in, and what its sensitive value is."""

    def __init__(self, rows: int) -> None:
        self.codes: Codes = np.zeros(rows, np.uint64)
        self.sensitive: Codes = np.zeros(rows, np.uint64)
        self._filled = 0

    def add(self, columns: Sequence[Sequence[Any]], sensitive: Sequence[Any]) -> None:
        """The quasi-identifiers of the next records, and their sensitive values (empty where none is named)."""
        end = self._filled + len(columns[0])
        self.codes[self._filled : end] = [code_of(values) for values in zip(*columns, strict=True)]
        if sensitive:
            self.sensitive[self._filled : end] = [code_of(value) for value in sensitive]
        self._filled = end

    def sizes(self) -> npt.NDArray[np.int64]:
        """For each record how many records its class has."""
        _, inverse, counts = np.unique(self.codes, return_inverse=True, return_counts=True)
        return np.asarray(counts[inverse], np.int64)


def code_of(value: Any) -> int:
    """Eight bytes that stand for a value."""
    return int.from_bytes(hashlib.blake2b(orjson.dumps(value, default=str), digest_size=8).digest(), "big")


def told(codes: Codes, sensitive: Codes | None, k: int) -> dict[str, Any]:
    """How many classes there are, how small the smallest is, how many are below k by size, and the l-diversity."""
    if not len(codes):
        return {"classes": 0, "smallest": 0, "below": {}, "records_below": 0}
    names, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    sizes, how_many = np.unique(counts[counts < k], return_counts=True)
    found: dict[str, Any] = {
        "classes": len(names),
        "smallest": int(counts.min()),
        "below": {str(size): int(many) for size, many in zip(sizes, how_many, strict=True)},
        "records_below": int((sizes * how_many).sum()),
    }
    if sensitive is not None:
        pairs = np.unique(np.stack([inverse.astype(np.uint64), sensitive], 1), axis=0)
        distinct = np.bincount(pairs[:, 0].astype(np.int64), minlength=len(names))
        found |= {"l": int(distinct.min()), "classes_of_one_value": int((distinct == 1).sum())}
    return found
