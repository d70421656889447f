"""CSV for a spreadsheet: one line an answer. A cell that a spreadsheet would take for a formula is led by an apostrophe."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mofang.data.labelling.consensus import shown
from mofang.data.labelling.exchange.items import Item
from mofang.data.labelling.schema import Schema

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guarded(cell: str) -> str:
    """The cell as no spreadsheet computes it."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def write(path: Path, items: Iterator[Item], schema: Schema) -> int:
    """Write tasks; how many."""
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names: list[str] | None = None
        for item in items:
            if names is None:
                names = list(item.values)
                writer.writerow([guarded(one) for one in ("task", "record", *names, "person", "answer", "decided")])
            decided = shown(schema.kind, item.final) if item.final is not None else ""
            lines = [(one.person, shown(schema.kind, one.answer)) for one in item.answers] or [("", "")]
            for person, answer in lines:
                cells = [str(item.task), item.record, *(item.values.get(name, "") for name in names), person, answer, decided]
                writer.writerow([guarded(one) for one in cells])
            count += 1
    return count
