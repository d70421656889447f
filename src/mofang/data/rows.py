"""Rows of a table file as they stand, for a model that is asked and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.formats import detect_format
from mofang.data.readers import Reading, reader_named
from mofang.data.sources import source_files


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Each row as column name → value, read as collect reads it. A row that cannot be read ends in ``row-unreadable``."""
    files = source_files(str(path))
    format = detect_format(files)

    def refuse(file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        raise MofangError("row-unreadable", file=file, row=row, reason=detail or reason)

    for chunk in reader_named(format)(files, Reading(format=format), refuse):
        names = list(chunk.columns)
        for values in zip(*chunk.columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))
