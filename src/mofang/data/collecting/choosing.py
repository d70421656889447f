"""Which columns become part of the records, and what each is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.columns import profiles, rounded_numbers
from mofang.data.readers import Chunk, Reading, chunks_of
from mofang.data.readers.delimited import COLUMNS_MOST, doubled
from mofang.data.roles import ID, MEDIA_ROLES, with_role
from mofang.data.sources.files import SourceFile

FIRST_ROWS = 50
FILES_LOOKED = 200
SAMPLE_ROWS = 5000
SAMPLE_CHARS = 8 * 2**20  # of long texts fewer rows are looked at


def columns_of(how: Reading) -> dict[str, str]:
    """The columns that a format always has, with the role each has unless another is asked for; none for tables."""
    label = how.label or "label"
    beside = {"folder": ""}
    fixed: dict[str, dict[str, str]] = {
        "images": {"image": "image", **beside, label: "label"},
        "pixels": {"image": "image", label: "label"},
        "lines": {"text": "text", **({label: "label"} if how.several else {})},
        "documents": {"text": "text", label: "label"},
        "html": {"title": "other", "text": "text", "document": "other", label: "label"},
        "pdf": {"text": "text", "document": "other", "page": "other", "title": "other", label: "label"},
        "sounds": {"audio": "audio", **beside, "seconds": "other", "sample_rate": "other", "channels": "other", label: "label"},
    }
    return fixed.get(how.format, {})


def sample(files: list[SourceFile], how: Reading, named: Sequence[str]) -> list[Chunk]:
    """The first some thousand rows (of long texts fewer), and where a column that is asked for is not among them, those of
    every file."""
    fixed = columns_of(how) if how.told is None else {}
    if fixed:
        return [Chunk(files[0].name, [], {name: [] for name in fixed})]
    head: list[Chunk] = []
    rows = chars = 0
    for chunk in _chunks(files, how):
        head.append(chunk)
        rows += len(chunk.numbers)
        chars += sum(len(value) for values in chunk.columns.values() for value in values if isinstance(value, str))
        if rows >= SAMPLE_ROWS or chars >= SAMPLE_CHARS or chunk.media:
            break
    found = {name for chunk in head for name in chunk.columns}
    if head and len(files) > 1 and not found.issuperset(map(own_name, named)):
        firsts = (next(_chunks([file], how), None) for file in files[:FILES_LOOKED])
        head += [_start(chunk) for chunk in firsts if chunk is not None]
    return head


def _start(chunk: Chunk) -> Chunk:
    """The first rows of a chunk: many files' first megabytes together would not fit."""
    columns = {name: values[:FIRST_ROWS] for name, values in chunk.columns.items()}
    media = {name: values[:1] for name, values in chunk.media.items()}
    return Chunk(chunk.file, chunk.numbers[:FIRST_ROWS], columns, media, chunk.names[:FIRST_ROWS])


def _chunks(files: list[SourceFile], how: Reading) -> Iterator[Chunk]:
    """The chunks of these files; what is rejected here is rejected again when the files are read."""
    look = replace(how, blank_lines=[0], sheets={})
    for chunk in chunks_of(files, look, lambda *_rest, **_more: None):
        if chunk.numbers:
            yield without_id(chunk)


def without_id(chunk: Chunk) -> Chunk:
    """A source's own column named id is renamed: that name is the record id's."""
    if ID in chunk.columns:
        chunk.columns = {own_name(name): values for name, values in chunk.columns.items()}
    return chunk


def own_name(name: str) -> str:
    """How a column of the source is called in the records."""
    return "source_id" if name == ID else name


def choose_roles(
    head: Sequence[Chunk], wanted: dict[str, str], beside: dict[str, str], how: Reading
) -> dict[str, str]:
    """Column name to role: what was asked for, or what the first thousands of rows look like.

    Raises ``column-missing``, ``column-doubled``, ``delimiter-wrong``, ``no-inputs``.
    """
    names = list(dict.fromkeys(name for chunk in head for name in chunk.columns))
    if len(names) > COLUMNS_MOST:
        raise MofangError("too-many-columns", file=head[0].file, columns=len(names), most=COLUMNS_MOST)
    wanted, beside = ({own_name(name): role for name, role in roles.items()} for roles in (wanted, beside))
    for name in {**wanted, **beside}:
        _require(name, names, head[0].file)
    twice = doubled(names)
    visible = [name for name in names if "\0" not in name]
    media = {name: _media_role(name, chunk) for chunk in head for name in chunk.media}
    fixed = {name: role for name, role in columns_of(how).items() if role}
    if fixed and not wanted:
        wanted = {name: role for name, role in fixed.items() if role != "label"}
        beside = {**{name: role for name, role in fixed.items() if role == "label"}, **beside}
    if not wanted:
        values = {
            name: [value for chunk in head for value in chunk.columns.get(name, ())]
            for name in visible
            if name not in beside and name not in media and (how.format, name) != ("webdataset", "key")
        }
        found = profiles(values)
        times = ("time",) if how.format != "logs" else ()
        wanted = {
            name: one.role
            for name, one in found.items()
            if one.role not in ("other", *times) and not rounded_numbers(values[name])
        } | media
    roles = {name: ({**wanted, **beside})[name] for name in visible if name in wanted or name in beside}
    for name in roles:
        if name in twice:
            raise MofangError("column-doubled", column=name, file=head[0].file)
    if not with_role(roles, ("text", "number", "category", *MEDIA_ROLES)):
        raise MofangError("no-inputs", columns=", ".join(visible))
    return roles


def _media_role(name: str, chunk: Chunk) -> str:
    """Whether a column of bytes holds images or sounds, by the first of them."""
    first = next((one for one in chunk.media[name] if one), b"")
    sound = first[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM") and first[8:12] != b"WEBP"
    return "audio" if sound or first[:3] == b"ID3" or first[:2] in (b"\xff\xfb", b"\xff\xf3") else "image"


def _require(name: str, names: Sequence[str], file: str) -> None:
    if name in names:
        return
    shown = ", ".join(one for one in names if "\0" not in one)
    raise MofangError("column-missing", column=name, columns=shown, nearest=nearest(name, names), file=file)


def asked(named: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Column to role, from role to columns; empty names are no columns."""
    return {name: role for role, names in named.items() for name in names if name}
