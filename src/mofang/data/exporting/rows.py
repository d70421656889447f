"""JSON lines and CSV: one line for each record; images and sounds lie as files in ``media/`` and the line names them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from mofang.data.exporting.guard import guarded
from mofang.data.exporting.told import extension_of
from mofang.data.records import Batch
from mofang.data.roles import ID

NAME = ".name"  # beside the path of a written file: what the records call it


class RowWriter:
    """One file for each part, and the media of all parts below ``media/``, in folders of at most some thousands."""

    def __init__(self, place: Path, part: str, roles: Mapping[str, str], media: list[str], *, commas: bool, raw: bool) -> None:
        self._place, self._part, self._media, self._roles = place, part, media, roles
        self._guard = commas and not raw
        self.files = [f"{part}.{'csv' if commas else 'jsonl'}"]
        self._names = [ID, *roles]
        self._shown = [*self._names, *(name + NAME for name in media)]
        if commas:  # the mark at the start tells a spreadsheet that this is UTF-8
            self._text = (place / self.files[0]).open("w", encoding="utf-8-sig", newline="")
            self._csv: Any = csv.writer(self._text, quoting=csv.QUOTE_ALL)
            self._csv.writerow([guarded(name) if self._guard else name for name in self._shown])
        else:
            self._csv = None
            self._bytes = (place / self.files[0]).open("wb")

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        columns: dict[str, list[Any]] = {name: batch.column(name) for name in self._names}
        for name in self._media:
            columns[name + NAME] = columns[name]
            columns[name] = [self._kept(id, name, content) for id, content in zip(columns[ID], batch.media[name], strict=True)]
        rows = zip(*(columns[name] for name in self._shown), strict=True)
        if self._csv is None:
            self._bytes.writelines(
                orjson.dumps(dict(zip(self._shown, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows
            )
            return
        numbers = [self._roles.get(name) == "number" for name in self._shown]
        self._csv.writerows(
            [self._cell(value, number) for value, number in zip(row, numbers, strict=True)] for row in rows
        )

    def _cell(self, value: Any, number: bool) -> str:
        if value is None:
            return ""
        if number:
            return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
        return guarded(value) if self._guard else value

    def _kept(self, id: str, column: str, content: bytes) -> str | None:
        """Write an image or sound beside the rows; its path from there. Nothing where there is none."""
        if not content:
            return None
        name = f"media/{self._part}/{id[:2]}/{id}.{self._media.index(column)}{extension_of(content)}"
        path = self._place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    def close(self) -> None:
        """Complete the file."""
        (self._bytes if self._csv is None else self._text).close()
