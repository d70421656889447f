"""Writing records, or the parts of a snapshot, into a folder of files that other tools read.

The folder appears whole or not at all: everything is written beside it, synced, and renamed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from mofang.core.artifact import Artifact
from mofang.core.canonical import file_digest, sync_file, sync_folder, write_durably
from mofang.core.copying import full_disk_told
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.exporting.left import note_left
from mofang.data.exporting.told import TOLD, Told
from mofang.data.records import Batch, RecordReader
from mofang.data.roles import MEDIA_ROLES, with_role

Format = Literal["parquet", "arrow", "jsonl", "csv", "tfrecord", "hdf5", "webdataset"]
FORMATS: tuple[str, ...] = get_args(Format)
BATCH_ROWS = 1024


class Writer(Protocol):
    """Writes one part in one format."""

    files: list[str]

    def write(self, batch: Batch) -> None:
        """Append a batch."""

    def close(self) -> None:
        """Complete the files."""


@dataclass(frozen=True)
class Written:
    """What was written where."""

    place: Path
    rows: dict[str, int]
    files: int
    size_bytes: int


def record_parts(artifact: Artifact) -> dict[str, Artifact]:
    """The sets of records of an artifact by the name of their part. Raises ``export-no-records``."""
    inside = [name for name, kind in type(artifact).inside.items() if kind == "records"]
    if artifact.has("values.parquet"):
        return {"records": artifact}
    found = {name: artifact / name for name in inside if artifact.has(f"{name}/values.parquet")}
    if not found:
        raise MofangError("export-no-records", kind=artifact.kind)
    return found


def require_records(stage: str, *artifacts: Artifact | None) -> None:
    """Refuse what holds no records, as a stage refuses a wrong input."""
    for one in artifacts:
        if one is not None and not one.has("values.parquet") and "records" not in type(one).inside.values():
            raise MofangError("input-wrong", stage=stage, takes="records, cleaned, snapshot", given=one.kind)


def export_records(
    artifact: Artifact,
    place: Path,
    format: str,
    *,
    name: str = "",
    raw: bool = False,
    parts: tuple[str, ...] = (),
    advance: Callable[[int], None] = lambda _rows: None,
) -> Written:
    """Write the records of an artifact into a new folder, with ``mofang-data.json`` beside them.

    ``raw`` leaves texts as they are where a spreadsheet would take one for a formula (CSV). ``parts`` chooses parts of a
    snapshot. Raises ``format-not-known``, ``export-not-empty``, ``export-no-records``, ``part-missing``, ``disk-full``.
    """
    if format not in FORMATS:
        raise MofangError("export-format", format=format, known=", ".join(FORMATS), nearest=nearest(format, FORMATS))
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise MofangError("export-there", place=place)
    sets = record_parts(artifact)
    for wanted in parts:
        if wanted not in sets:
            raise MofangError("part-missing", part=wanted, kind=artifact.kind, parts=", ".join(sets))
    sets = {part: one for part, one in sets.items() if not parts or part in parts}
    beside = place.with_name(f".{place.name}.part")
    with full_disk_told(place):
        shutil.rmtree(beside, ignore_errors=True)  # what a stopped export left
        beside.mkdir(parents=True)
        try:
            told = _write(artifact, sets, beside, format, name, raw, advance)
            files = [path for path in beside.rglob("*") if path.is_file()]
            for path in files:
                sync_file(path)
            if place.exists():
                place.rmdir()
            beside.rename(place)
            sync_folder(place.parent)
            note_left(artifact.shop, [artifact], place, file_digest(place / TOLD))
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    rows = {part: int(one["rows"]) for part, one in told.parts.items()}
    return Written(place, rows, len(files), sum((place / path.relative_to(beside)).stat().st_size for path in files))


def _write(
    artifact: Artifact,
    sets: dict[str, Artifact],
    place: Path,
    format: str,
    name: str,
    raw: bool,
    advance: Callable[[int], None],
) -> Told:
    first = RecordReader(next(iter(sets.values())))
    told = Told(
        kind=artifact.kind,
        name=name,
        entry=artifact.entry,
        digest=artifact.digest,
        format=format,
        guarded=format == "csv" and not raw,
        licences=list(artifact.licences),
        about=_said(first.about),
        columns=dict(first.roles),
    )
    for part, records in sets.items():
        reader = RecordReader(records)
        media = with_role(reader.roles, MEDIA_ROLES)
        writer = _writer(format, place, part, reader.roles, media, raw)
        try:
            for batch in reader.batches(BATCH_ROWS):
                writer.write(batch)
                advance(len(batch))
        finally:
            writer.close()
        digests = {file: file_digest(place / file) for file in writer.files}
        told.parts[part] = {"rows": reader.rows, "files": digests}
    write_durably(place / TOLD, told.written())
    return told


def _said(about: dict[str, Any]) -> dict[str, Any]:
    """What is known of where the records come from, without the names of files on this machine."""
    return {
        name: value
        for name, value in about.items()
        if name not in ("format", "columns", "rows", "source", "operators") and isinstance(value, str) and value
    }


def _writer(format: str, place: Path, part: str, roles: dict[str, str], media: list[str], raw: bool) -> Writer:
    if format in ("parquet", "arrow"):
        from mofang.data.exporting.columnar import ColumnarWriter

        return ColumnarWriter(place, part, roles, media, arrow=format == "arrow")
    if format in ("jsonl", "csv"):
        from mofang.data.exporting.rows import RowWriter

        return RowWriter(place, part, roles, media, commas=format == "csv", raw=raw)
    if format == "tfrecord":
        from mofang.data.exporting.tfrecord import TfrecordWriter

        return TfrecordWriter(place, part, roles, media)
    if format == "hdf5":
        from mofang.data.exporting.hdf5 import Hdf5Writer

        return Hdf5Writer(place, part, roles, media)
    from mofang.data.exporting.webdataset import WebdatasetWriter

    return WebdatasetWriter(place, part, roles, media)
