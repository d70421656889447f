"""Columns out of formats that know only bytes: which of them are texts, and which are images or sounds."""

from __future__ import annotations

from typing import Any

from mofang.data.readers import Chunk

PATH = ".path"
MEDIA_MARKS = (
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3",
)  # fmt: skip


def looks_like_media(data: bytes) -> bool:
    """True for the first bytes of a picture or a sound in a usual format."""
    return data.startswith(MEDIA_MARKS) or data[4:12] in (b"ftypheic", b"ftypmif1")


def value_of_bytes(data: bytes) -> Any:
    """Text where the bytes are UTF-8, else (pictures, sounds) the bytes."""
    if looks_like_media(data):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def chunk_with_media(file: str, numbers: list[int], columns: dict[str, list[Any]]) -> Chunk:
    """A chunk whose columns of pictures or sounds are media; what ``NAME.path`` says is such a column's value."""
    media: dict[str, list[bytes]] = {}
    for name, values in columns.items():
        filled = [value for value in values if isinstance(value, bytes)]
        if filled and all(looks_like_media(value) for value in filled) and len(filled) >= 0.5 * len(values):
            media[name] = [value if isinstance(value, bytes) else b"" for value in values]
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if name.endswith(PATH) and name.removesuffix(PATH) in columns:
            continue
        given = columns.get(name + PATH)
        if name in media:
            values = given if given is not None else [f"{file}-{number}" for number in numbers]
        elif given is not None and not any(isinstance(value, bytes) for value in values):
            media[name] = [b"" for _ in values]
            values = given
        found[name] = values
    return Chunk(file, numbers, found, media)
