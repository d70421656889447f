"""Pieces of a source: some files, or a stretch of one large file, each read by itself in whichever process is free.

What a piece gave lies in the run's scratch (rows in Arrow, the rest as JSON) until the records are sealed: so a killed run
goes on with the pieces that it had not finished, and results come from the workers without passing through a pipe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from mofang.core.errors import MofangError
from mofang.data.collecting.choosing import without_id
from mofang.data.collecting.converting import convert
from mofang.data.columns import rounded_numbers
from mofang.data.readers import Chunk, Reading, Reject, chunks_of
from mofang.data.records import Media, record_hasher
from mofang.data.rejected import shown
from mofang.data.roles import ARROW_TYPES, MEDIA_ROLES
from mofang.data.sources.files import SourceFile

MEDIA_PREFIX = "bytes of "
SPARE_BYTES = 1 << 30


@dataclass(frozen=True)
class Piece:
    """What one worker reads: ``keys`` say for each file which bytes are read and how, so equal keys give equal rows."""

    files: tuple[SourceFile, ...]
    keys: tuple[str, ...]
    how: Reading
    roles: dict[str, str]
    suspected: tuple[str, ...]
    folder: Path
    secret: bytes = field(repr=False)
    last: bool = True

    @property
    def place(self) -> Path:
        """Where its rows lie, without an ending."""
        name = hashlib.sha256(orjson.dumps([self.keys, self.how.start, self.how.end, self.last])).hexdigest()[:32]
        return self.folder / name


@dataclass
class Noted:
    """What was seen while a piece was read. ``rows`` counts those of each file; ``rejected`` are (file's place in the piece
    or -1, name, row, reason, detail, value)."""

    rows: list[int]
    rejected: list[tuple[str, int, str, str, str]] = field(default_factory=list)
    rounded: list[Counter[str]] = field(default_factory=list)
    lacking: list[list[str]] = field(default_factory=list)
    blank: int = 0
    lines: int = 0
    open_end: bool = False
    sheets: dict[str, str] = field(default_factory=dict)


def read_piece(piece: Piece) -> Noted:
    """Read a piece into its place, unless an earlier, killed attempt has done it."""
    place = piece.place
    done = place.with_suffix(".json")
    if done.exists():
        return Noted(**orjson.loads(done.read_bytes()))
    noted = Noted([0] * len(piece.files), rounded=[Counter() for _ in piece.files], lacking=[[] for _ in piece.files])
    how = replace(piece.how, blank_lines=[0], lines=[0], open_end=[0], sheets={})
    at = {file.name: number for number, file in enumerate(piece.files)}

    def reject(file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        noted.rejected.append((file, row, reason, shown(detail, "detail"), shown(value, "value")))

    fresh = place.with_suffix(".new")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(fresh), "wb") as sink, pa.ipc.new_stream(sink, _schema(piece.roles), options=_packed()) as writer:
        for chunk in _chunks(piece, how, reject):
            if chunk.numbers:
                for part in _small(without_id(chunk)):
                    _note(part, piece, noted, at)
                    _write(part, piece, noted, at, reject, writer)
    os.replace(fresh, place.with_suffix(".arrow"))
    noted.blank, noted.lines, noted.open_end = how.blank_lines[0], how.lines[0], bool(how.open_end[0])
    noted.sheets = how.sheets
    fresh.write_bytes(orjson.dumps(noted.__dict__))
    os.replace(fresh, done)
    return noted


def _chunks(piece: Piece, how: Reading, reject: Reject) -> Iterator[Chunk]:
    """The chunks of a piece's files; where damaged files are kept, each file by itself, up to its damage."""
    files = list(piece.files)
    if how.damaged == "stop" or how.format == "webdataset":
        yield from chunks_of(files, how, reject)
        return
    for file in files:
        file = replace(file, cut=[])
        try:
            yield from chunks_of([file], how, reject)
        except MofangError as error:
            if error.code != "archive-broken":
                raise
            reject(file.name, 0, "cut-short", str(error.values.get("reason", "")))
        if file.cut:
            reject(file.name, 0, "cut-short", file.cut[0])


def _packed() -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)


def _schema(roles: dict[str, str]) -> pa.Schema:
    fields = [pa.field(name, ARROW_TYPES.get(role, pa.string())) for name, role in roles.items()]
    media = [pa.field(MEDIA_PREFIX + name, pa.large_binary()) for name, role in roles.items() if role in MEDIA_ROLES]
    return pa.schema([*fields, pa.field("base", pa.binary(16)), *media])


def _small(chunk: Chunk) -> Iterator[Chunk]:
    """A chunk as it is; one with media in pieces of few rows, so that no buffer passes two gigabytes."""
    step = 64 if chunk.media else len(chunk.numbers)
    for start in range(0, len(chunk.numbers), step):
        cut = slice(start, start + step)
        yield chunk if step == len(chunk.numbers) else Chunk(
            chunk.file, chunk.numbers[cut], {name: values[cut] for name, values in chunk.columns.items()},
            {name: values[cut] for name, values in chunk.media.items()}, chunk.names[cut])


def _note(chunk: Chunk, piece: Piece, noted: Noted, at: dict[str, int]) -> None:
    lacking = [name for name in piece.roles if name not in chunk.columns]
    for file in {chunk.file, *chunk.names} & at.keys():
        noted.lacking[at[file]] = sorted({*noted.lacking[at[file]], *lacking})
    for name in piece.suspected:
        if chunk.file in at:
            noted.rounded[at[chunk.file]][name] += rounded_numbers(chunk.columns.get(name, ()))


def _write(chunk: Chunk, piece: Piece, noted: Noted, at: dict[str, int], reject: Any, writer: Any) -> None:
    digests = record_hasher(piece.secret, piece.roles)
    table, media, good = convert(chunk, piece.roles, reject, digests)
    if not good:
        return
    if chunk.names:
        for name, count in Counter(chunk.names[place] for place in good).items():
            noted.rows[at[name]] += count
    else:
        noted.rows[at[chunk.file]] += len(good)
    content = [pa.array(media.get(name, [b""] * len(good)), pa.large_binary())
               for name, role in piece.roles.items() if role in MEDIA_ROLES]
    writer.write_batch(pa.RecordBatch.from_arrays([*table.columns, *content], schema=_schema(piece.roles)))


def rows_of(piece: Piece) -> Iterator[tuple[pa.RecordBatch, Media]]:
    """The rows of a piece that was read: their columns with ``base``, and their media."""
    with pa.memory_map(str(piece.place.with_suffix(".arrow"))) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            names = [name for name in batch.schema.names if not name.startswith(MEDIA_PREFIX)]
            media = {name.removeprefix(MEDIA_PREFIX): batch.column(name).to_pylist()
                     for name in batch.schema.names if name.startswith(MEDIA_PREFIX)}
            yield batch.select(names), media


@dataclass
class Room:
    """Keeps the disk from filling: pieces whose rows were merged serve only a later attempt, so the oldest go as soon as what
    is still to be read might not fit beside them (its rows twice: as pieces and as records)."""

    left_bytes: int
    _merged: deque[Path] = field(default_factory=deque)

    def merged(self, piece: Piece) -> None:
        """This piece's rows are written."""
        span = piece.how.end - piece.how.start
        self.left_bytes -= span if span > 0 else sum(file.size_bytes for file in piece.files)
        self._merged.append(piece.place)
        while self._merged and shutil.disk_usage(piece.folder).free < 2 * self.left_bytes + SPARE_BYTES:
            gone = self._merged.popleft()
            for ending in (".json", ".arrow"):  # in this order: without the first it does not count as read
                gone.with_suffix(ending).unlink(missing_ok=True)


def clear_unfinished(folder: Path) -> int:
    """How many pieces an earlier attempt finished; what it left half-written is removed."""
    if not folder.exists():
        return 0
    for left in folder.glob("*.new"):
        left.unlink()
    return sum(1 for _ in folder.glob("*.json"))
