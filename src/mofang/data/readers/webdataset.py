"""WebDataset: tar files in which the files of one record share their name up to the first point."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.readers.jsonl import columns_of_rows
from mofang.data.readers.packed import looks_like_media
from mofang.data.sources.files import ENDINGS, SourceFile, ending_of

MEMBER_BYTES = 64 * 2**20
LABELS = ("cls", "cls2", "label", "index")


def read_webdataset(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every sample as a record: the values of its .json, .txt and .cls members, its picture or sound as media.

    A member that cannot be read sets its sample aside.
    """
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    size = 0
    for key, members in groupby(files, key=key_of):
        found = list(members)
        try:
            row = _sample(key, found)
        except MofangError as error:
            reject(found[0].name, 0, "unreadable", str(error.values.get("reason", error.code)))
            continue
        except (ValueError, RecursionError) as error:
            reject(found[0].name, 0, "sample-broken", str(error))
            continue
        rows.append(row)
        names.append(found[0].name)
        size += sum(one.size_bytes for one in found)
        if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield _chunk(names, rows)
            names, rows, size = [], [], 0
    yield _chunk(names, rows)


def key_of(file: SourceFile) -> str:
    """What the members of one sample share: folders, and the name up to its first point."""
    folder, _, base = file.name.rpartition("/")
    return f"{folder}/{base.split('.', 1)[0]}"


def _sample(key: str, members: list[SourceFile]) -> dict[str, Any]:
    row: dict[str, Any] = {"key": key.rsplit("/", 1)[-1]}
    media: list[tuple[str, bytes]] = []
    for file in members:
        ending = file.base.split(".", 1)[1].lower() if "." in file.base else ""
        if file.size_bytes > MEMBER_BYTES:
            raise ValueError(f"{file.base}: {file.size_bytes} > {MEMBER_BYTES} bytes")
        with file.open() as opened:
            data = opened.read()
        last = ending.rsplit(".", 1)[-1]
        if last == "json":
            value = orjson.loads(data)
            row |= value if isinstance(value, dict) else {"json": value}
        elif looks_like_media(data) or file.kind in ("images", "sounds"):
            media.append((ending.rsplit(".", 1)[0], data))
        elif last in LABELS:
            row["label" if last == "cls" else last] = data.decode().strip()
        else:
            row["text" if last == "txt" else last] = data.decode()
    return _with_media(row, media, key)


def _with_media(row: dict[str, Any], media: list[tuple[str, bytes]], key: str) -> dict[str, Any]:
    """The row with its bytes beside the columns whose values name files of that kind, in order, or in columns of their own."""
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    naming = [name for name, value in texts.items() if ENDINGS.get(ending_of(value)) in ("images", "sounds")]
    for place, (_, data) in enumerate(sorted(media)):
        sound = data[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM") and data[8:12] != b"WEBP" or data[:3] == b"ID3"
        kind = "audio" if sound else "image"
        name = naming[place] if place < len(naming) else kind if place == 0 else f"{kind}_{place + 1}"
        row[f"\0{name}"] = data
        row.setdefault(name, key.rsplit("/", 1)[-1])
    return row


def _chunk(names: list[str], rows: list[dict[str, Any]]) -> Chunk:
    columns = columns_of_rows(rows)
    media = {name[1:]: [value or b"" for value in columns.pop(name)] for name in list(columns) if name.startswith("\0")}
    return Chunk("", [0] * len(names), columns, media, names)
