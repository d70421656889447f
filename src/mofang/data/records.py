"""Records: values and media in Parquet, joined by record id, written and read as bounded batches.

``values.parquet`` holds the id and the columns, ``media.parquet`` the bytes of images and sounds in the same
order, and ``about.json`` where they come from. Nothing here holds more than one batch or one row group in
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.data.occurrences import Occurrences
from mofang.data.roles import ID, MEDIA_ROLES, record_schema, roles_of, with_role

RECORDS_FORMAT = 1
GROUP_BYTES = 32 * 2**20
SMALL_GROUP_BYTES = 8 * 2**20  # of what is read again in pieces
GROUP_ROWS = 1 << 16
MEDIA_SCHEMA = pa.schema(
    [pa.field(ID, pa.string()), pa.field("column", pa.string()), pa.field("bytes", pa.large_binary())]
)

Media = dict[str, list[bytes]]


@holds_personal_data
class Records(Artifact):
    """Records as they were collected: parts values.parquet, about.json, and media.parquet where there are
    media."""

    kind = "records"


@dataclass(frozen=True)
class Batch:
    """Some records: ``table`` with the id first, and for each media column the bytes of the same rows."""

    table: pa.RecordBatch
    media: Media

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list[Any]:
        """One column's values as Python objects."""
        found: list[Any] = self.table.column(name).to_pylist()
        return found

    def rows(self, names: Sequence[str] | None = None, media: bool = True) -> list[dict[str, Any]]:
        """The records as dictionaries; a media column holds its bytes in place of the file's name."""
        chosen = self.table.select(list(names)) if names is not None else self.table
        found: list[dict[str, Any]] = chosen.to_pylist()
        for name, values in self.media.items() if media else ():
            if names is None or name in names:
                for row, value in zip(found, values, strict=True):
                    row[name] = value
        return found

    def take(self, places: Sequence[int] | np.ndarray) -> Batch:
        """The records at these places, in this order."""
        chosen = np.asarray(places, dtype=np.int64)
        table = pa.RecordBatch.from_arrays(
            [one.take(pa.array(chosen)) for one in self.table.columns], schema=self.table.schema
        )
        return Batch(table, {name: [values[i] for i in chosen] for name, values in self.media.items()})


class RecordWriter:
    """Writes one set of records below a prefix of a run's parts; ``about.json`` is completed and written
    at the end."""

    def __init__(
        self,
        run: Run,
        prefix: str = "",
        *,
        schema: pa.Schema | None = None,
        roles: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
        group_bytes: int = 0,
    ) -> None:
        self.rows = 0
        self._group_bytes = group_bytes
        self.schema = record_schema(roles) if roles is not None else schema
        self._run = run
        self._prefix = prefix
        self._about = dict(about or {})
        self._parts = ExitStack()
        self._values: _GroupedFile | None = None
        self._media: _GroupedFile | None = None
        if self.schema is not None:
            self._open(self.schema)

    def _open(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._values = _GroupedFile(
            self._parts.enter_context(self._run.part(f"{self._prefix}values.parquet")), schema, most_bytes=self._group_bytes
        )
        if with_role(roles_of(schema), MEDIA_ROLES):
            path = self._parts.enter_context(self._run.part(f"{self._prefix}media.parquet"))
            self._media = _GroupedFile(path, MEDIA_SCHEMA, len(with_role(roles_of(schema), MEDIA_ROLES)))

    def write(
        self,
        batch: Batch | pa.RecordBatch | Mapping[str, Sequence[Any]],
        media: Mapping[str, Sequence[bytes | None]] | None = None,
    ) -> None:
        """Append records, as a batch or as columns with ``id`` among them."""
        if isinstance(batch, Batch):
            batch, media = batch.table, batch.media
        if not isinstance(batch, pa.RecordBatch):
            batch = pa.RecordBatch.from_pydict(dict(batch), schema=self.schema)
        if self._values is None:
            self._open(batch.schema)
        assert self._values is not None
        self._values.write(batch)
        self.rows += batch.num_rows
        if self._media is not None:
            self._media.write(_media_rows(batch.column(ID), media or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._values, self._media):
            if file is not None:
                file.close()
        self._parts.__exit__(kind, error, trace)
        if kind is None:
            assert self.schema is not None, "no schema was given and nothing was written"
            about = {
                "format": RECORDS_FORMAT,
                **self._about,
                "columns": roles_of(self.schema),
                "rows": self.rows,
            }
            self._run.write_json(f"{self._prefix}about.json", about)


def _media_rows(ids: pa.Array, media: Mapping[str, Sequence[bytes | None]]) -> pa.RecordBatch:
    """The rows of media.parquet: for each record its media columns one after another."""
    names = list(media)
    count = len(ids)
    columns = pa.array(names * count, pa.string())
    content = pa.array([media[name][row] or b"" for row in range(count) for name in names], pa.large_binary())
    repeated = ids.take(pa.array(np.repeat(np.arange(count), len(names))))
    return pa.RecordBatch.from_arrays([repeated, columns, content], schema=MEDIA_SCHEMA)


class _GroupedFile:
    """A Parquet file whose row groups are cut by rows and bytes, never within ``stride`` rows that belong
    together."""

    def __init__(self, path: Path, schema: pa.Schema, stride: int = 1, most_bytes: int = 0) -> None:
        self._schema = schema
        self._most_bytes = most_bytes or GROUP_BYTES
        self._stride = stride
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", version="2.6")
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        for piece in _pieces(batch, self._stride, self._most_bytes):
            if self._rows + piece.num_rows > GROUP_ROWS or self._bytes + piece.nbytes > self._most_bytes:
                self._flush()
            self._waiting.append(piece)
            self._rows += piece.num_rows
            self._bytes += piece.nbytes

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(
                pa.Table.from_batches(self._waiting, self._schema), row_group_size=GROUP_ROWS
            )
        self._waiting, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _pieces(batch: pa.RecordBatch, stride: int, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """A batch cut until each piece fits a row group; ``stride`` rows that belong together are never cut."""
    if batch.num_rows > stride and (batch.nbytes > most_bytes or batch.num_rows > GROUP_ROWS):
        half = max(batch.num_rows // stride // 2, 1) * stride
        yield from _pieces(batch.slice(0, half), stride, most_bytes)
        yield from _pieces(batch.slice(half), stride, most_bytes)
    else:
        yield batch


class RecordReader:
    """Reads records back in order, in batches bounded by rows and by the bytes of their media."""

    def __init__(self, records: Artifact) -> None:
        self._records = records
        self.about: dict[str, Any] = records.read_json("about.json")
        with self._opened("values.parquet") as file:
            self.schema: pa.Schema = _plain(file.schema_arrow)
            self.rows: int = file.metadata.num_rows
        self.roles = roles_of(self.schema)
        self.media_columns = with_role(self.roles, MEDIA_ROLES)

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        with self._records.open(name) as file, pq.ParquetFile(file) as table:
            yield table

    def batches(
        self, size: int = 4096, media: bool = True, columns: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """All records in order.

        ``columns`` chooses columns beside the id; batches never pass ``size`` rows.
        """
        names = None if columns is None else [ID, *(name for name in columns if name != ID)]
        wanted = bool(self.media_columns) and (
            names is None or any(name in names for name in self.media_columns)
        )
        if not media or not wanted:
            with self._opened("values.parquet") as file:
                for table in _tables(file, size, names):
                    yield Batch(_in_order(table, names), {})
            return
        with self._opened("values.parquet") as values, self._opened("media.parquet") as content:
            tables = _Cutter(_tables(values, size, names))
            for group in range(content.num_row_groups):
                yield from self._joined(content.read_row_group(group), tables, size, names)

    def _joined(
        self, group: pa.Table, tables: _Cutter, size: int, names: list[str] | None
    ) -> Iterator[Batch]:
        width = len(self.media_columns)
        content = group.column("bytes").combine_chunks()
        assert len(content) % width == 0, "a row group of media.parquet cuts a record"
        for start in range(0, len(content) // width, size):
            count = min(size, len(content) // width - start)
            piece = content.slice(start * width, count * width).to_pylist()
            table = _in_order(tables.take(count), names)
            yield Batch(table, {name: piece[place::width] for place, name in enumerate(self.media_columns)})


def _tables(file: pq.ParquetFile, size: int, names: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Batches that never cross a row group, so that a batch of long texts is bounded by bytes too."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(size, row_groups=[group], columns=names)


class _Cutter:
    """Hands out exactly as many rows as are asked for from a stream of batches."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None

    def take(self, rows: int) -> pa.RecordBatch:
        taken: list[pa.RecordBatch] = []
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches)
            piece = batch.slice(0, rows)
            self._rest = batch.slice(piece.num_rows) if piece.num_rows < batch.num_rows else None
            rows -= piece.num_rows
            taken.append(piece)
        return taken[0] if len(taken) == 1 else pa.concat_batches(taken)


def _in_order(table: pa.RecordBatch, names: list[str] | None) -> pa.RecordBatch:
    return table.select(names) if names is not None else table


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema as it was written: Parquet adds its own field ids to the metadata."""
    fields = [
        one.with_metadata({k: v for k, v in (one.metadata or {}).items() if k == b"role"} or None)
        for one in schema
    ]
    return pa.schema(fields)


class RecordIds:
    """Gives each record its id: a keyed digest of its values without the label, so a corrected label keeps
    the id.

    Exact repeats are told apart by their order, and adding a row leaves the ids of all others alone. The key
    is a secret of the shop, because a bare digest of a short text could be guessed. BLAKE2b-128, RFC 7693.
    """

    def __init__(self, secret: bytes, roles: Mapping[str, str], scratch: Path) -> None:
        self._secret = secret
        self._digests = record_hasher(secret, roles)
        self._seen = Occurrences(scratch)

    def ids(
        self, columns: Mapping[str, Sequence[Any]], media: Mapping[str, Sequence[bytes]], rows: int
    ) -> list[str]:
        """The ids of a batch of records, in order; 32 hexadecimal digits each."""
        found: list[str] = self.numbered(b"".join(self._digests(columns, media, rows)))[0].to_pylist()
        return found

    def numbered(self, digests: bytes) -> tuple[pa.StringArray, list[int]]:
        """The ids of records with these digests (16 bytes each), and the places of those that came before."""
        raw = np.frombuffer(digests, np.uint8).reshape(-1, 16)
        earlier = self._seen.count(np.frombuffer(digests, "<u8")[::2].astype(np.uint64))
        letters = np.frombuffer(raw.tobytes().hex().encode(), np.uint8).reshape(-1, 32).copy()
        repeats = np.nonzero(earlier)[0].tolist()
        for place in repeats:
            again = record_digest(self._secret, raw[place].tobytes() + int(earlier[place]).to_bytes(8, "big"))
            letters[place] = np.frombuffer(again.hexdigest().encode(), np.uint8)
        offsets = pa.py_buffer(np.arange(0, 32 * len(raw) + 1, 32, dtype=np.int32))
        return pa.StringArray.from_buffers(len(raw), offsets, pa.py_buffer(letters)), repeats


def record_digest(secret: bytes, data: bytes) -> Any:
    """The keyed digest that ids are made of."""
    return hashlib.blake2b(data, key=secret, digest_size=16, person=b"mofang record")


def record_hasher(
    secret: bytes, roles: Mapping[str, str]
) -> Callable[[Mapping[str, Sequence[Any]], Mapping[str, Sequence[bytes]], int], list[bytes]]:
    """A function that digests each record of a batch: its values by the columns' names, without label, then its media."""
    names = sorted(name for name, role in roles.items() if role not in ("label", *MEDIA_ROLES))

    def digests(columns: Mapping[str, Sequence[Any]], media: Mapping[str, Sequence[bytes]], rows: int) -> list[bytes]:
        values = zip(*(columns[name] for name in names), strict=True) if names else iter([()] * rows)
        dumped = map(orjson.dumps, values)
        if not media:
            blake, person = hashlib.blake2b, b"mofang record"
            return [blake(data, key=secret, digest_size=16, person=person).digest() for data in dumped]
        found = []
        for row, data in enumerate(dumped):
            hasher = record_digest(secret, data)
            for name in sorted(media):
                hasher.update(hashlib.sha256(media[name][row]).digest())
            found.append(hasher.digest())
        return found

    return digests


def content_digest(records: Artifact) -> str:
    """SHA-256 over the ordered records and their roles: equal however the files are cut into shards and
    row groups."""
    reader = RecordReader(records)
    names = [ID, *sorted(reader.roles)]
    total = hashlib.sha256(orjson.dumps([(name, reader.roles.get(name, "id")) for name in names]))
    for batch in reader.batches():
        columns = [batch.column(name) for name in names]
        for row in range(len(batch)):
            total.update(orjson.dumps([values[row] for values in columns]))
            for name in sorted(batch.media):
                total.update(hashlib.sha256(batch.media[name][row]).digest())
    return total.hexdigest()
