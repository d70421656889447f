"""Rows of a database as Parquet pieces: typed where a column's values agree, as text where they do not, bounded by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

PIECE_ROWS = 50_000
PIECE_BYTES = 32 * 2**20
ROW_BYTES_MOST = 32 * 2**20
Row = Sequence[Any]


def pieces(rows: Iterable[Row], ordered: int | None = None) -> Iterator[list[Row]]:
    """The rows in pieces; by an ordered column, a piece never ends within rows of the same value, so that the next fetch may
    begin strictly behind it."""
    waiting: list[Row] = []
    size = 0
    for row in rows:
        full = len(waiting) >= PIECE_ROWS or size >= PIECE_BYTES
        if full and (ordered is None or row[ordered] != waiting[-1][ordered]):
            yield waiting
            waiting, size = [], 0
        waiting.append(row)
        size += size_of(row)
    if waiting:
        yield waiting


def size_of(row: Row) -> int:
    """About how many bytes a row takes."""
    return sum(len(value) if isinstance(value, str | bytes | bytearray | memoryview) else 16 for value in row)


def write_rows(path: Path, names: Sequence[str], rows: Sequence[Row]) -> None:
    """One piece as a Parquet file."""
    columns = [_column([plain(row[place]) for row in rows]) for place in range(len(names))]
    pq.write_table(pa.Table.from_arrays(columns, names=list(names)), path, compression="zstd", version="2.6")


def plain(value: Any) -> Any:
    """A driver's value as one that Parquet has: exact decimals and times as text, structures as JSON."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, dict | list | tuple | set | frozenset):
        import json

        plainer = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return json.dumps(plainer, ensure_ascii=False, default=str)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value if isinstance(value, bytes) else str(value)


def _column(values: list[Any]) -> pa.Array:
    """An Arrow column; SQLite lets one column hold numbers and texts, which then are texts."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)
                         for value in values], pa.string())


def kept(value: Any) -> list[Any]:
    """A value of an ordered column as JSON with its kind, to ask for what lies beyond it next time."""
    if isinstance(value, datetime | date):
        return ["datetime" if isinstance(value, datetime) else "date", value.isoformat()]
    if isinstance(value, Decimal | UUID):
        return [type(value).__name__, str(value)]
    return ["", value]


def unkept(told: Sequence[Any]) -> Any:
    """The value that ``kept`` was given."""
    kind, value = told
    kinds: dict[str, Callable[[str], Any]] = {"datetime": datetime.fromisoformat, "date": date.fromisoformat, "Decimal": Decimal,
                                              "UUID": UUID}
    return kinds[kind](value) if kind in kinds else value
