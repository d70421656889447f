"""What lies beside exported records: where they come from, what each column is for, and which file holds which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from mofang.core.errors import MofangError
from mofang.data.roles import MEDIA_ROLES, ROLES, with_role

TOLD = "mofang-data.json"
TOLD_FORMAT = 1
TOLD_BYTES_MOST = 16 * 2**20


@dataclass(frozen=True)
class Told:
    """The file ``mofang-data.json`` of an export.

    ``columns`` are name and role in order, ``parts`` are the files of each part with their rows, ``guarded`` says
    that texts which a spreadsheet would take for a formula begin with an apostrophe.
    """

    kind: str
    name: str
    entry: str
    digest: str
    format: str
    guarded: bool
    licences: list[str]
    about: dict[str, Any]
    columns: dict[str, str]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def media(self) -> list[str]:
        """The columns of images and sounds."""
        return with_role(self.columns, MEDIA_ROLES)

    def written(self) -> bytes:
        """The file's bytes."""
        return orjson.dumps({"what": "mofang data", "version": TOLD_FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2)


def read_told(data: bytes, file: str = TOLD) -> Told:
    """The file as it was written; anything else is refused with ``export-told-wrong``."""
    try:
        found = orjson.loads(data)
        if found["what"] != "mofang data" or found["version"] != TOLD_FORMAT:
            raise ValueError(f"version {found['version']}")
        told = Told(**{name: value for name, value in found.items() if name not in ("what", "version")})
    except (ValueError, KeyError, TypeError) as error:
        raise MofangError("export-told-wrong", file=file, reason=str(error)[:100]) from None
    if not _strings(told.columns.keys()) or any(role not in ROLES for role in told.columns.values()):
        raise MofangError("export-told-wrong", file=file, reason="columns")
    return told


def _strings(values: Any) -> bool:
    return all(isinstance(one, str) for one in values)


def extension_of(data: bytes) -> str:
    """The ending that fits an image's or a sound's first bytes; ``.bin`` where they are nothing known."""
    for start, ending in _STARTS:
        if data.startswith(start):
            return ending
    if data[:4] == b"RIFF":
        return {b"WAVE": ".wav", b"WEBP": ".webp"}.get(data[8:12], ".bin")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1"):
        return ".heic"
    return ".bin"


_STARTS: Sequence[tuple[bytes, str]] = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"FORM", ".aiff"),
)
