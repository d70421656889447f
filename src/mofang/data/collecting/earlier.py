"""The records that were collected before: files that did not change give their rows from there, without being read again.

``files.parquet`` beside the records says which rows came from which file, read how. An id is the digest of the row's values
unless equal rows came before it; for those few the digest is kept there, so that the ids can be counted anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.data.collecting.converting import BASE
from mofang.data.records import Media, RecordReader, Records
from mofang.data.roles import ID

FILES = "files.parquet"
REJECTED = "rejected.parquet"
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("key", pa.string()),
        ("rows", pa.int64()),
        ("rejected", pa.int64()),
        ("noted", pa.string()),
        ("repeats", pa.list_(pa.int64())),
        ("bases", pa.list_(BASE)),
    ]
)
FLUSH_FILES = 2000


@dataclass
class FileRows:
    """What one file gave: how many rows, how many were set aside, what was noted, which rows came before (and their
    digests). ``first`` and ``first_rejected`` are where its rows begin."""

    name: str
    key: str
    rows: int = 0
    rejected: int = 0
    noted: dict[str, Any] = field(default_factory=dict)
    repeats: list[int] = field(default_factory=list)
    bases: list[bytes] = field(default_factory=list)
    first: int = 0
    first_rejected: int = 0


class FileTable:
    """Writes ``files.parquet``; ``aside`` counts what was set aside before the first file was read."""

    def __init__(self, path: Path, aside: int) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA.with_metadata({"aside": str(aside)}), compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def add(self, file: FileRows) -> None:
        """Append one file."""
        noted = orjson.dumps(file.noted, option=orjson.OPT_SORT_KEYS).decode()
        self._waiting.append({"name": file.name, "key": file.key, "rows": file.rows, "rejected": file.rejected,
                              "noted": noted, "repeats": file.repeats, "bases": file.bases})
        if len(self._waiting) >= FLUSH_FILES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, self._writer.schema))
            self._waiting = []

    def close(self) -> None:
        """Complete the table."""
        self._flush()
        self._writer.close()


class Earlier:
    """The rows of ``previous`` by file; empty without one, or where its rows are not as they were collected."""

    def __init__(self, previous: Records | None) -> None:
        self._files: dict[str, FileRows] = {}
        self.names: set[str] = set()
        self.taken: set[str] = set()
        if previous is None or not previous.has(FILES) or not previous.has(REJECTED):
            return
        self._reader = RecordReader(previous)
        self._rejected = previous
        with previous.open(FILES) as source, pq.ParquetFile(source) as table:
            first, aside = 0, int((table.schema_arrow.metadata or {}).get(b"aside", b"0"))
            for batch in table.iter_batches(FLUSH_FILES):
                for row in batch.to_pylist():
                    found = FileRows(**{**row, "noted": orjson.loads(row["noted"])}, first=first, first_rejected=aside)
                    self._files[found.key] = found
                    self.names.add(found.name)
                    first, aside = first + found.rows, aside + found.rejected
        if first != self._reader.rows:  # records were taken out since: read everything anew
            self._files = {}
        self._rows = _Rows(self._reader)
        self._aside = _Aside(previous)

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def file(self, key: str) -> FileRows:
        """What the file with this key gave."""
        self.taken.add(self._files[key].name)
        return self._files[key]

    def rows(self, file: FileRows) -> Iterator[tuple[pa.RecordBatch, Media]]:
        """Its rows with ``base`` last, and their media."""
        repeats = dict(zip(file.repeats, file.bases, strict=True))
        at = 0
        for table, media in self._rows.take(file.first, file.rows):
            raw = bytearray(bytes.fromhex("".join(table.column(ID).to_pylist())))
            for place in [one for one in repeats if at <= one < at + table.num_rows] if repeats else ():
                raw[16 * (place - at) : 16 * (place - at) + 16] = repeats[place]
            base = pa.FixedSizeBinaryArray.from_buffers(BASE, table.num_rows, [None, pa.py_buffer(bytes(raw))])
            columns = [table.column(name) for name in table.schema.names if name != ID]
            names = [name for name in table.schema.names if name != ID]
            yield pa.RecordBatch.from_arrays([*columns, base], names=[*names, "base"]), media
            at += table.num_rows

    def rejected(self, file: FileRows) -> Iterator[dict[str, Any]]:
        """What was set aside of it."""
        return self._aside.take(file.first_rejected, file.rejected)


class _Rows:
    """Rows of records by place; going forwards reads each batch once."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self._at = 0
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._start()

    def _start(self) -> None:
        self._at, self._batch = 0, None
        self._batches = self._reader.batches()

    def take(self, first: int, rows: int) -> Iterator[tuple[pa.RecordBatch, Media]]:
        if first < self._at:
            self._start()
        while rows:
            if self._batch is None:
                self._batch = next(self._batches)
            if self._at + len(self._batch) <= first:
                self._at += len(self._batch)
                self._batch = None
                continue
            skip = first - self._at
            count = min(rows, len(self._batch) - skip)
            media = {name: values[skip : skip + count] for name, values in self._batch.media.items()}
            yield self._batch.table.slice(skip, count), media
            first, rows = first + count, rows - count


class _Aside:
    """Rows of rejected.parquet by place."""

    def __init__(self, previous: Records) -> None:
        self._previous = previous
        self._rows: Iterator[dict[str, Any]] = iter(())
        self._at = -1

    def take(self, first: int, rows: int) -> Iterator[dict[str, Any]]:
        if not rows:
            return
        if self._at < 0 or first < self._at:
            self._rows, self._at = self._all(), 0
        for _ in range(first - self._at):
            next(self._rows)
        for _ in range(rows):
            yield next(self._rows)
        self._at = first + rows

    def _all(self) -> Iterator[dict[str, Any]]:
        with self._previous.open(REJECTED) as source, pq.ParquetFile(source) as table:
            for batch in table.iter_batches(2000):
                yield from batch.to_pylist()
