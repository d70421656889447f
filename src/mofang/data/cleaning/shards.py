"""Records cut into pieces that a worker reads by itself: a stretch of rows, small enough for its memory.

Where the pieces are cut follows from the files alone, so every executor does the same pieces. Workers are told the shop's
place and which artifact to read there; no records and no keys travel to them.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact, Part
from mofang.core.shop import Shop
from mofang.data.records import Batch, RecordReader, Records

PIECE_BYTES_LEAST, PIECE_BYTES_MOST = 4 << 20, 16 << 20
PIECES = 64  # of a middling set, so that two processes or twenty finish together
BATCH_BYTES = READ_BYTES = 1 << 20
_OPENED = threading.local()


@dataclass(frozen=True)
class Piece:
    """Rows from ``start`` up to ``stop`` of the records; ``number`` says which piece of all it is."""

    number: int
    start: int
    stop: int


class Elsewhere:
    """A set of records that another process can open: the shop's place and the parts' names and digests."""

    def __init__(self, records: Artifact) -> None:
        self._records = records

    def open(self) -> Artifact:
        """The records, in the shop of this process."""
        return self._records

    def __reduce__(self) -> tuple[Any, ...]:
        one = self._records
        parts = [part.to_list() for part in one.parts]
        return _elsewhere, (str(one.shop.path), one.entry, parts, one.within)


def _elsewhere(shop: str, entry: str, parts: list[list[Any]], within: str) -> Elsewhere:
    opened: dict[str, Shop] = _OPENED.__dict__.setdefault("shops", {})
    if shop not in opened:
        opened[shop] = Shop.open(shop, make=False)
    return Elsewhere(Records(opened[shop], entry, tuple(Part(*part) for part in parts), within))


def pieces_of(records: Artifact) -> list[Piece]:
    """All pieces in order; of records with media a piece ends where a row group of the media ends."""
    reader = RecordReader(records)
    if reader.media_columns:
        with records.open("media.parquet") as file:
            groups = [(rows // len(reader.media_columns), 0) for rows, _ in _groups(file)]
        most = 0
    else:
        with records.open("values.parquet") as file:
            groups = _groups(file)
        most = min(max(sum(size for _, size in groups) // PIECES, PIECE_BYTES_LEAST), PIECE_BYTES_MOST)
    found: list[Piece] = []
    first = 0
    for rows, size in groups:
        cuts = max(1, -(-size // most)) if most else 1
        step = max(1, -(-rows // cuts))
        for start in range(0, rows, step):
            found.append(Piece(len(found), first + start, first + min(start + step, rows)))
        first += rows
    return found


def _groups(file: Any) -> list[tuple[int, int]]:
    """Rows and bytes of each row group."""
    with pq.ParquetFile(file) as opened:
        groups = [opened.metadata.row_group(place) for place in range(opened.num_row_groups)]
        return [(int(one.num_rows), int(one.total_byte_size)) for one in groups]


def batches_of(records: Artifact, piece: Piece) -> Iterator[Batch]:
    """The piece's records as batches of bounded size, with their media."""
    reader = RecordReader(records)
    with records.open("values.parquet") as file:
        table = rows_between(file, piece.start, piece.stop)
    schema = reader.schema
    if not reader.media_columns:
        for part in cut_by_bytes(table):
            yield Batch(part.cast(schema), {})
        return
    width = len(reader.media_columns)
    with records.open("media.parquet") as file:
        content = rows_between(file, piece.start * width, piece.stop * width, ["bytes"]).column(0)
    first = 0
    for part in cut_by_bytes(table, content, width):
        count = part.num_rows
        found = content.slice(first * width, count * width).to_pylist()
        yield Batch(part.cast(schema), {name: found[place::width] for place, name in enumerate(reader.media_columns)})
        first += count


def rows_between(file: Any, start: int, stop: int, columns: list[str] | None = None) -> pa.RecordBatch:
    """Rows ``start`` to ``stop`` of a Parquet file; of a row group no more than some megabytes are in memory at once."""
    taken, first = [], 0
    with pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False) as opened:
        for place in range(opened.num_row_groups):
            group = opened.metadata.row_group(place)
            if first < stop and first + group.num_rows > start:
                size = max(1, group.num_rows * READ_BYTES // max(group.total_byte_size, 1))
                below = first
                for batch in opened.iter_batches(size, row_groups=[place], columns=columns, use_threads=False):
                    if below < stop and below + batch.num_rows > start:
                        low = max(start - below, 0)
                        taken.append(batch.slice(low, min(stop - below, batch.num_rows) - low))
                    below += batch.num_rows
                    if below >= stop:
                        break
            first += group.num_rows
        schema = opened.schema_arrow if columns is None else pa.schema([opened.schema_arrow.field(name) for name in columns])
    return pa.concat_batches(taken) if taken else pa.RecordBatch.from_pylist([], schema)


def cut_by_bytes(table: pa.RecordBatch, content: Any = None, width: int = 1) -> Iterator[pa.RecordBatch]:
    """A table cut into stretches of some megabytes each."""
    size = table.nbytes + (content.nbytes if content is not None else 0)
    cuts = max(1, -(-size // BATCH_BYTES))
    step = max(1, -(-table.num_rows // cuts))
    for start in range(0, table.num_rows, step):
        yield table.slice(start, step)


def write_parquet(path: Path, table: pa.Table, plain: list[str] | None = None) -> None:
    """One small Parquet file, written beside and renamed, so that a killed worker leaves no half of it."""
    beside = path.with_suffix(".half")
    dictionary = [name for name in table.schema.names if name not in (plain or [])]
    pq.write_table(table, beside, compression="zstd", use_dictionary=dictionary, row_group_size=1 << 20)
    beside.replace(path)


def write_facts(path: Path, table: pa.Table) -> None:
    """Figures in Arrow: many narrow columns of few rows, which Parquet takes ten times as long to open."""
    beside = path.with_suffix(".half")
    with pa.OSFile(str(beside), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table.combine_chunks())
    beside.replace(path)


def read_facts(data: bytes, columns: list[str] | None, hidden: bool) -> pa.Table:
    """Figures that ``write_facts`` wrote: all, or some columns; those that are hidden begin with an underscore."""
    wanted = None
    if columns is not None or not hidden:
        names = facts_schema(data).names
        wanted = [names.index(name) for name in columns or names if hidden or not name.startswith("_")]
    options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    return pa.ipc.open_file(pa.BufferReader(data), options=options).read_all().replace_schema_metadata()


def facts_schema(data: bytes) -> pa.Schema:
    """The columns of figures, and what was noted beside them."""
    return pa.ipc.open_file(pa.BufferReader(data)).schema


def let_go() -> None:
    """Hand memory that earlier work used and freed back to the system, before work elsewhere asks for it."""
    pa.default_memory_pool().release_unused()
    libc = ctypes.util.find_library("c")
    if libc and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(libc), "malloc_trim", None)
        if trim:
            trim(0)
