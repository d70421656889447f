"""Readers: one per format, each a generator of chunks; a row that cannot be read is handed to ``reject``
and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from mofang.data.records import Media
from mofang.data.sources.files import SourceFile

CHUNK_ROWS = 4096
CHUNK_BYTES = 16 * 2**20


class Reject(Protocol):
    """Takes note of a row or file that could not be used."""

    def __call__(self, file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        """``row`` counts from 1 (the line, or the record, of the file); 0 means the file as a whole."""


@dataclass
class Chunk:
    """Some rows of one file: ``numbers`` are their places in it, counted from 1."""

    file: str
    numbers: list[int]
    columns: dict[str, list[Any]]
    media: Media = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How to read the files of a source; empty means that it is found out from each file. ``blank_lines`` and
    ``sheets`` (the sheet read of each workbook) are written while reading."""

    format: str
    encoding: str = ""
    delimiter: str = ""
    header: str = "auto"
    skip_lines: int = 0
    names: tuple[str, ...] = ()
    label: str = ""
    label_file: str = ""
    sheet: str = ""
    max_cell_chars: int = 1_000_000
    blank_lines: list[int] = field(default_factory=lambda: [0], compare=False)
    sheets: dict[str, str] = field(default_factory=dict, compare=False)

    def count_blank(self) -> None:
        """A blank line is no record; it is counted so that the sums add up."""
        self.blank_lines[0] += 1


Reader = Callable[[list[SourceFile], Reading, Reject], Iterator[Chunk]]
READERS = ("csv", "jsonl", "parquet", "excel", "lines", "documents", "images", "pixels")


def reader_named(name: str) -> Reader:
    """The reader of a format; its module is imported only now, and by name, so that ``stages.lock`` sees
    it."""
    if name == "csv":
        from mofang.data.readers.delimited import read_csv as reader
    elif name == "jsonl":
        from mofang.data.readers.jsonl import read_jsonl as reader
    elif name == "parquet":
        from mofang.data.readers.parquet import read_parquet as reader
    elif name == "excel":
        from mofang.data.readers.excel import read_excel as reader
    elif name == "lines":
        from mofang.data.readers.texts import read_lines as reader
    elif name == "documents":
        from mofang.data.readers.texts import read_documents as reader
    elif name == "images":
        from mofang.data.readers.images import read_images as reader
    else:
        from mofang.data.readers.images import read_pixels as reader
    return reader
