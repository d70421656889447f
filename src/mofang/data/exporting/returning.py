"""Exported records on their way back: the same columns in their roles, the same values, the same images and sounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.exporting.guard import unguarded
from mofang.data.exporting.hdf5 import SLASH
from mofang.data.exporting.rows import NAME
from mofang.data.exporting.told import TOLD, TOLD_BYTES_MOST, Told, read_told
from mofang.data.readers import Chunk, Reject
from mofang.data.roles import INPUT_ROLES
from mofang.data.sources.files import SourceFile, inside_archives

MEDIA_BYTES_MOST = 64 * 2**20


def told_among(files: Sequence[SourceFile]) -> Told | None:
    """What an export says of itself, if its description is among these files."""
    found = next((file for file in files if file.name == TOLD and file.archive is None), None)
    if found is None or found.size_bytes > TOLD_BYTES_MOST:
        return None
    return read_told(found.path.read_bytes())


def files_told(files: Sequence[SourceFile], told: Told) -> list[SourceFile]:
    """The files that hold the rows, part by part; of tar shards their entries."""
    wanted = [name for part in told.parts.values() for name in part["files"]]
    order = {name: place for place, name in enumerate(dict.fromkeys(wanted))}
    found = sorted((file for file in files if file.name in order), key=lambda file: order[file.name])
    missing = set(wanted) - {file.name for file in found}
    if missing:
        raise MofangError("export-file-missing", file=min(missing), told=TOLD)
    return sorted(inside_archives(found), key=lambda file: (order[file.path.name], file.place))


def roles_told(told: Told) -> tuple[dict[str, str], dict[str, str]]:
    """The inputs, and the columns beside them, with their roles."""
    inputs = {name: role for name, role in told.columns.items() if role in INPUT_ROLES}
    return inputs, {name: role for name, role in told.columns.items() if role not in INPUT_ROLES}


def restored(chunk: Chunk, told: Told, files: Sequence[SourceFile], reject: Reject) -> Chunk:
    """A chunk as the records were: apostrophes taken off, images and sounds read from the files that rows name."""
    columns = {(unguarded(name) if told.guarded else name).replace(SLASH, "/"): values for name, values in chunk.columns.items()}
    if told.guarded:
        texts = [name for name in columns if told.columns.get(name) != "number"]
        columns |= {name: [unguarded(one) if isinstance(one, str) else one for one in columns[name]] for name in texts}
    media = dict(chunk.media)
    if told.format in ("csv", "jsonl"):
        roots = {file.name: file for file in files}
        for name in told.media:
            media[name] = [_content(roots[chunk.file], value, reject) for value in columns.get(name, [])]
            columns[name] = columns.pop(name + NAME, columns.get(name, []))
    elif len(told.media) == 1 and len(media) == 1 and told.media[0] not in media:
        old = next(iter(media))
        media, columns[told.media[0]] = {told.media[0]: media[old]}, columns.pop(old)
    return Chunk(chunk.file, chunk.numbers, columns, media, chunk.names)


def _content(file: SourceFile, value: Any, reject: Reject) -> bytes:
    """The bytes of the file that a row names, which must lie in the export's own ``media`` folder."""
    if not value:
        return b""
    inside = PurePosixPath(str(value))
    path = file.path.parent.joinpath(*inside.parts)
    if inside.is_absolute() or ".." in inside.parts or inside.parts[0] != "media" or path.is_symlink() or not path.is_file():
        reject(file.name, 0, "media-missing", str(value))
        return b""
    if path.stat().st_size > MEDIA_BYTES_MOST:
        reject(file.name, 0, "file-too-large", str(value))
        return b""
    return path.read_bytes()
