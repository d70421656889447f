"""Table classification: one label for each row of numbers and categories."""

from __future__ import annotations

from typing import Any, ClassVar

from mofang.engine.decode.classes import Classification
from mofang.engine.encode import Record
from mofang.engine.task import Signature

NUMBERS: tuple[float | None, ...] = (None, 0.0, -1.0, 1e30, -1e30, 1e-30)
CATEGORIES = (None, "", "never seen", "0", "未知", "a" * 200)


class TableClassification(Classification):
    """One label for each row; a row is one unit."""

    name: ClassVar[str] = "table_classification"
    unit: ClassVar[str] = "row"
    input_roles: ClassVar[frozenset[str]] = frozenset({"number", "category"})

    def edges(self, signature: Signature) -> list[Record]:
        """Everything missing, zero, negative, huge, tiny; categories never seen."""
        rows: list[dict[str, Any]] = []
        for number, category in zip(NUMBERS, CATEGORIES, strict=True):
            rows.append({each["name"]: number if each["role"] == "number" else category
                         for each in signature["inputs"]})
        return rows


TASK = TableClassification()
