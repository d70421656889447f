"""Categories: crossed with each other, rare ones brought together, written as numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mofang.data.operators.values import OTHER, level

Columns = Mapping[str, Sequence[Any]]
BETWEEN = " × "


class CategoryCross:
    """Makes one category of several: listed combinations, or any combination hashed into so many buckets."""

    name: ClassVar[str] = "category-cross"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The combinations; one that is not listed is "other", a missing value is a level of its own."""
        made: dict[str, list[Any]] = {}
        for entry in state["crosses"]:
            rows = zip(*(columns[name] for name in entry["of"]), strict=True)
            joined = [BETWEEN.join(level(value) or "" for value in row) for row in rows]
            known = set(entry["levels"])
            made[entry["to"]] = [
                _bucket(one, entry["buckets"]) if entry["buckets"] else one if one in known else OTHER for one in joined
            ]
        return made


def _bucket(text: str, buckets: int) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"mofang cross").digest()
    return f"#{int.from_bytes(digest, 'big') % buckets}"


class CategoryRare:
    """Keeps the fitted levels; a rare or unseen one becomes "other"."""

    name: ClassVar[str] = "category-rare"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The kept levels; a missing one stays missing."""
        made: dict[str, list[Any]] = {}
        for entry in state["kept"]:
            known = set(entry["levels"])
            values = map(level, columns[entry["from"]])
            made[entry["to"]] = [value if value is None or value in known else OTHER for value in values]
        return made


class CategoryEncode:
    """Writes a category as numbers: a column a level (one-hot), how frequent it is, or what its records' labels were.

    A level that training did not see gets the numbers of ``unseen``; a missing value is a level like any other.
    """

    name: ClassVar[str] = "category-encode"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The columns of numbers that each entry names in ``to``."""
        made: dict[str, list[Any]] = {}
        for entry in state["encodings"]:
            levels, unseen = entry["levels"], entry["unseen"]
            rows = [levels.get(level(value) or "", unseen) for value in columns[entry["from"]]]
            for place, name in enumerate(entry["to"]):
                made[name] = [row[place] for row in rows]
        return made
