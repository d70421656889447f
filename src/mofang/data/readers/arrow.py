"""Arrow: IPC files (Feather too) and streams, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mofang.data.readers import CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.readers.parquet import MEDIA_ROWS, chunk_of, is_media, seekable
from mofang.data.sources.files import SourceFile

MAGIC = b"ARROW1"
OLD_MAGIC = b"FEA1"


def read_arrow(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All rows of Arrow files and streams, row numbers counted from 1."""
    for file in files:
        number = 1
        try:
            with file.open() as opened:
                first = opened.read(len(MAGIC))
            if not first:
                reject(file.name, 0, "file-empty")
                continue
            for batch in _old(file) if first.startswith(OLD_MAGIC) else _batches(file, first == MAGIC):
                media = [one.name for one in batch.schema if is_media(one.type)]
                step = MEDIA_ROWS if media else CHUNK_ROWS
                for start in range(0, batch.num_rows, step):
                    piece = batch.slice(start, step)
                    piece.validate()
                    yield chunk_of(piece, media, file.name, number)
                    number += piece.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            reject(file.name, number if number > 1 else 0, "not-arrow", str(error))


def _batches(file: SourceFile, has_footer: bool) -> Iterator[Any]:
    """The record batches of a file with a footer, or of a stream."""
    if not has_footer:
        with file.open() as opened, pa.ipc.open_stream(opened) as reader:
            yield from reader
        return
    with pa.ipc.open_file(seekable(file)) as reader:
        for place in range(reader.num_record_batches):
            yield reader.get_batch(place)


def _old(file: SourceFile) -> Iterator[Any]:
    """Feather of before Arrow's own file format, which can only be read whole."""
    from pyarrow import feather

    yield from feather.read_table(seekable(file), memory_map=False).to_batches(CHUNK_ROWS)
