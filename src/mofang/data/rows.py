"""Rows of a table file as they stand, for a model that is asked and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.readers import Reading, reader_named
from mofang.data.sources.files import source_files
from mofang.data.sources.formats import detect_format, files_of


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each row in its file and its values by column name, read as collect reads them. A row that
    cannot be read ends in ``row-unreadable``."""
    files = source_files(str(path))
    format = detect_format(files)
    chosen, _ = files_of(files, format)

    def refuse(file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        raise MofangError("row-unreadable", file=file, row=row, reason=f"{reason} {detail}".strip())

    for chunk in reader_named(format)(chosen, Reading(format=format), refuse):
        names = list(chunk.columns)
        for number, *values in zip(chunk.numbers, *chunk.columns.values(), strict=True):
            yield number, dict(zip(names, values, strict=True))
