"""Readers: one per format, each a generator of chunks; a row that cannot be read is handed to ``reject``
and named."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast, get_args

from mofang.data.records import Media
from mofang.data.sources.files import SourceFile

CHUNK_ROWS = 4096
CHUNK_BYTES = 4 * 2**20


class Reject(Protocol):
    """Takes note of a row or file that could not be used."""

    def __call__(self, file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        """``row`` counts from 1 (the line, or the record, of the file); 0 means the file as a whole."""


@dataclass
class Chunk:
    """Some rows of one file: ``numbers`` are their places in it, counted from 1. Where the rows come from several
    files, ``file`` is empty and ``names`` holds the file of each row."""

    file: str
    numbers: list[int]
    columns: dict[str, list[Any]]
    media: Media = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How to read the files of a source; empty means that it is found out from each file.

    ``several`` says that these files are some of many. ``known`` are the columns of an earlier file with a header,
    ``labels`` the label of each file by its name; ``start`` and ``end`` are the bytes of the one file that are read
    (``end`` 0: to its end), ``heading`` what was found out about it. ``damaged``
    says what becomes of a file that ends before its time, ``told`` what an export says of itself.
    ``blank_lines``, ``lines``, ``open_end`` and
    ``sheets`` (the sheet read of each workbook) are written while reading.
    """

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
    several: bool = False
    known: tuple[str, ...] = ()
    labels: Mapping[str, str | None] | None = None
    damaged: str = "stop"
    told: Any = None
    start: int = 0
    end: int = 0
    heading: Any = None
    blank_lines: list[int] = field(default_factory=lambda: [0], compare=False)
    lines: list[int] = field(default_factory=lambda: [0], compare=False)
    open_end: list[int] = field(default_factory=lambda: [0], compare=False)
    sheets: dict[str, str] = field(default_factory=dict, compare=False)

    def count_blank(self, lines: int = 1) -> None:
        """A blank line is no record; it is counted so that the sums add up."""
        self.blank_lines[0] += lines


Reader = Callable[[list[SourceFile], Reading, Reject], Iterator[Chunk]]
Format = Literal[
    "auto", "csv", "jsonl", "parquet", "arrow", "excel", "lines", "documents", "html", "pdf", "images", "pixels", "sounds",
    "logs", "tfrecord", "hdf5", "webdataset", "tagged", "dictionary-pairs", "dictionary-questions",
]  # fmt: skip
READERS = get_args(Format)[1:]


def chunks_of(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """The rows of these files; those of an export as they were before."""
    chunks = reader_named(how.format)(files, how, reject)
    if how.told is None:
        yield from chunks
        return
    from mofang.data.exporting.returning import restored

    for chunk in chunks:
        yield restored(chunk, how.told, files, reject)


def reader_named(name: str) -> Reader:
    """The reader of a format; its module is imported only now, and by name, so that ``stages.lock`` sees
    it."""
    if name in ("csv", "jsonl", "parquet", "arrow", "excel", "lines", "documents"):
        return _of_tables(name)
    if name == "images":
        from mofang.data.readers.images import read_images as reader
    elif name == "pixels":
        from mofang.data.readers.images import read_pixels as reader
    elif name == "sounds":
        from mofang.data.readers.sounds import read_sounds as reader
    elif name == "html":
        from mofang.data.readers.html import read_html as reader
    elif name == "pdf":
        from mofang.data.readers.pdf import read_pdf as reader
    elif name == "logs":
        from mofang.data.readers.logs import read_logs as reader
    elif name == "tfrecord":
        from mofang.data.readers.tfrecord import read_tfrecord as reader
    elif name == "tagged":
        from mofang.data.readers.tagged import read_tagged as reader
    elif name == "dictionary-pairs":
        from mofang.data.readers.dictionary import read_pairs as reader
    elif name == "dictionary-questions":
        from mofang.data.readers.dictionary import read_questions as reader
    elif name == "hdf5":
        from mofang.data.readers.hdf5 import read_hdf5 as reader
    else:
        from mofang.data.readers.webdataset import read_webdataset as reader
    return reader


def _of_tables(name: str) -> Reader:
    if name == "csv":
        from mofang.data.readers.delimited import read_csv as reader
    elif name == "jsonl":
        from mofang.data.readers.jsonl import read_jsonl as reader
    elif name == "parquet":
        from mofang.data.readers.parquet import read_parquet as reader
    elif name == "arrow":
        from mofang.data.readers.arrow import read_arrow as reader
    elif name == "excel":
        from mofang.data.readers.excel import read_excel as reader
    elif name == "lines":
        from mofang.data.readers.texts import read_lines as reader
    else:
        from mofang.data.readers.texts import read_documents as reader
    return reader


def needed(module: str) -> Any:
    """A library that only this format needs; ``extra-missing`` names the command that installs it."""
    from mofang.core.errors import MofangError

    try:
        return cast(Any, importlib.import_module(module))
    except ModuleNotFoundError:
        raise MofangError("extra-missing", extra="data", package=module.partition(".")[0].replace("_", "-")) from None
