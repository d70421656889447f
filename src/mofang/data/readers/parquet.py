"""Parquet, in batches; image columns may be bytes or the {bytes, path} pairs that data set hubs write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mofang.data.readers import CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile

MEDIA_ROWS = 64
PACKED_BYTES_MOST = 512 * 2**20


def read_parquet(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All rows of Parquet files, row numbers counted from 1."""
    for file in files:
        try:
            opened = pq.ParquetFile(seekable(file))
        except (pa.ArrowInvalid, OSError) as error:
            reject(file.name, 0, "not-parquet", str(error))
            continue
        with opened:
            media = [one.name for one in opened.schema_arrow if is_media(one.type)]
            number = 1
            try:
                for batch in opened.iter_batches(MEDIA_ROWS if media else CHUNK_ROWS):
                    yield chunk_of(batch, media, file.name, number)
                    number += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:  # the rest of a damaged file cannot be found again
                reject(file.name, number, "not-parquet", str(error))


def seekable(file: SourceFile) -> Any:
    """The file's path; of one in an archive its bytes, because Parquet is read from its end."""
    if file.archive is None:
        return file.path
    if file.size_bytes > PACKED_BYTES_MOST:
        raise OSError(f"{file.size_bytes} > {PACKED_BYTES_MOST} bytes in an archive")
    with file.open() as opened:
        return pa.BufferReader(opened.read())


def is_media(kind: pa.DataType) -> bool:
    """True for columns of bytes, and for the {bytes, path} pairs that data set hubs write."""
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def chunk_of(batch: pa.RecordBatch, media: list[str], file: str, number: int) -> Chunk:
    """A batch of rows as a chunk; ``number`` is the first row's."""
    columns: dict[str, list[Any]] = {}
    content: dict[str, list[bytes]] = {}
    for name in batch.schema.names:
        values = batch.column(name).to_pylist()
        if name not in media:
            columns[name] = values
            continue
        pairs = [value if isinstance(value, dict) else {"bytes": value} for value in values]
        content[name] = [pair.get("bytes") or b"" for pair in pairs]
        columns[name] = [pair.get("path") or f"{number + i}" for i, pair in enumerate(pairs)]
    return Chunk(file, list(range(number, number + batch.num_rows)), columns, content)
