"""Collect: records of any supported format become one set of records, with their licence, their origin and
their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field

from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.columns import number_of, profiles, rounded_numbers, text_of
from mofang.data.readers import Chunk, Reading, Reject, reader_named
from mofang.data.readers.delimited import doubled
from mofang.data.records import Media, RecordIds, Records, RecordWriter
from mofang.data.rejected import RejectedFile
from mofang.data.roles import ID, MEDIA_ROLES, with_role
from mofang.data.sources import files as sources
from mofang.data.sources.files import Source, SourceFile
from mofang.data.sources.formats import detect_format, files_of, find_label_file
from mofang.data.sources.textfile import is_clean

Format = Literal["auto", "csv", "jsonl", "parquet", "excel", "lines", "documents", "images", "pixels"]
Columns = tuple[str, ...]
TABLES = ("csv", "jsonl", "parquet", "excel")
FILES_LISTED = 1000
FILES_LOOKED = 200
SAMPLE_ROWS = 5000


@stage(version=2, source_digest=sources.source_digest)
def collect(
    run: Run,
    *,
    source: Source,
    licence: Annotated[str, Field(min_length=1)],
    origin: str = "",
    consent: str = "",
    format: Format = "auto",
    label: str = "",
    text: Columns = (),
    numbers: Columns = (),
    categories: Columns = (),
    image: str = "",
    group: str = "",
    time: str = "",
    person: str = "",
    keep: Columns = (),
    label_file: str = "",
    sheet: str = "",
    encoding: str = "",
    delimiter: str = "",
    header: Literal["auto", "yes", "no"] = "auto",
    names: Columns = (),
    skip_lines: Annotated[int, Field(ge=0)] = 0,
    max_cell_chars: Annotated[int, Field(ge=1)] = 1_000_000,
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Records:
    """Read records from a file, a folder, a glob, a zip archive or an installed package, and record their origin.

    ``text``, ``numbers``, ``categories`` and ``image`` name the input columns; without them the columns' own
    values decide. A row or file that cannot be read is counted and kept in rejected.parquet with its reason;
    more than ``bad_share`` of them stops the run. Empty ``encoding`` and ``delimiter`` are found out from
    each file, and of a workbook without ``sheet`` the sheet that looks most like a table. Numbers of 16 and more
    digits that a spreadsheet has rounded are counted by column.
    """
    files, left_out, chosen, label_file = _files(run, source, format, label_file)
    how = Reading(chosen, encoding, delimiter, header, skip_lines, names, label, label_file, sheet, max_cell_chars)
    wanted = _roles({"text": text, "number": numbers, "category": categories, "image": (image,)})
    beside = _roles(
        {"group": (group,), "time": (time,), "person": (person,), "other": keep, "label": (label,)}
    )
    about: dict[str, Any] = {"licence": licence, "origin": origin, "consent": consent}
    about["source"] = _about_source(source, files, left_out, how, run)
    run.licence(licence)
    with run.part("rejected.parquet") as path, RejectedFile(path) as rejected:
        for name, reason in sources.refused_entries(files):
            rejected.add(name, 0, reason)
        rows, roles, noted = _write(run, files, how, wanted, beside, about, rejected)
        rejected.require_share(rows, bad_share)
        if not rows:
            raise MofangError("no-records", source=source)
    counts = {
        "rows": rows,
        "blank_lines": how.blank_lines[0],
        "files": len(files),
        "files_left_out": len(left_out),
    }
    run.measure(**counts, rejected=dict(rejected.counts), format=chosen, columns=roles, **noted.measures())
    return run.result(Records)


def _files(run: Run, source: str, format: str, label_file: str) -> tuple[list[SourceFile], list[SourceFile], str, str]:
    """The files to read, those left out, the format, and the label file beside images."""
    found = sources.source_files(source, run.shop)
    chosen = detect_format(found) if format == "auto" else format
    if chosen == "images" and not label_file:
        label_file = find_label_file(found)
    return *files_of(found, chosen, label_file), chosen, label_file


def _roles(named: dict[str, Columns]) -> dict[str, str]:
    """Column to role, from role to columns; empty names are no columns."""
    return {name: role for role, names in named.items() for name in names if name}


def _about_source(
    source: str, files: list[SourceFile], left_out: list[SourceFile], how: Reading, run: Run
) -> dict[str, Any]:
    there = sources.on_disk(files)
    digests = sources.file_digests(there, run.shop.path / "cache")
    listed = [
        {"name": file.name, "size_bytes": file.size_bytes, "sha256": digests[file.name]} for file in there
    ]
    return {
        "given": source,
        "format": how.format,
        **({"sheets": how.sheets} if how.format == "excel" else {}),  # filled while reading, written after that
        "count": len(files),
        "digest": digest_of(sorted(digests.items())),
        "files": listed[:FILES_LISTED],
        "left_out": [file.name for file in left_out[:FILES_LISTED]],
    }


def _write(
    run: Run,
    files: list[SourceFile],
    how: Reading,
    wanted: dict[str, str],
    beside: dict[str, str],
    about: dict[str, Any],
    rejected: RejectedFile,
) -> tuple[int, dict[str, str], _Noted]:
    """Read, convert, number and write all records; how many there are, their columns with roles, and what was noted."""
    noted = _Noted()
    chunks: Iterator[Chunk] = (
        _without_id(chunk) for chunk in reader_named(how.format)(files, how, rejected.add) if chunk.numbers
    )
    head, chunks = _sample(chunks)
    if not head:
        return 0, {}, noted
    found = {name for chunk in head for name in chunk.columns}
    if len(files) > 1 and not found.issuperset([*wanted, *beside]):
        head = [*head, *_first_chunks(files, how)]  # a list of its own: the chunks to write go on from the first one
    roles = choose_roles(head, wanted, beside, how)
    ids = RecordIds(run.secret("records"), roles, run.scratch / "ids")
    rows = 0
    suspected = [name for name in roles if any(rounded_numbers(chunk.columns.get(name, ())) for chunk in head)]
    total = sum(file.size_bytes for file in files)
    with RecordWriter(run, roles=roles, about=about) as writer, run.progress("Collecting", "正在收集") as bar:
        for chunk in chunks:
            noted.look(chunk, roles, suspected)
            columns, media, count = convert(chunk, roles, rejected.add)
            if count:
                columns[ID] = ids.ids(columns, media, count)
                writer.write(columns, media)
                rows += count
                bar.advance(count)
                bar.note(f"{chunk.file or how.format} ({total / 2**20:.1f} MB)")
    return rows, roles, noted


@dataclass
class _Noted:
    """What was seen on the way: rounded numbers by column, and which files lack a column."""

    rounded: Counter[str] = field(default_factory=Counter)
    lacking: set[tuple[str, str]] = field(default_factory=set)

    def look(self, chunk: Chunk, roles: dict[str, str], suspected: Sequence[str]) -> None:
        """Take note of one chunk."""
        self.lacking.update((name, chunk.file) for name in roles if name not in chunk.columns)
        for name in suspected:
            self.rounded[name] += rounded_numbers(chunk.columns.get(name, ()))

    def measures(self) -> dict[str, dict[str, int]]:
        """As figures of the run; nothing for what did not occur."""
        found = {
            "rounded_numbers": dict(self.rounded),
            "files_without": dict(Counter(name for name, _ in self.lacking)),
        }
        return {name: counts for name, counts in found.items() if counts}


def _without_id(chunk: Chunk) -> Chunk:
    """A source's own column named id is renamed: that name is the record id's."""
    if ID in chunk.columns:
        chunk.columns = {
            "source_id" if name == ID else name: values for name, values in chunk.columns.items()
        }
    return chunk


def _sample(chunks: Iterator[Chunk]) -> tuple[list[Chunk], Iterator[Chunk]]:
    """The first chunks, some thousand rows of them, and all chunks again from the first."""
    head: list[Chunk] = []
    for chunk in chunks:
        head.append(chunk)
        if sum(len(one.numbers) for one in head) >= SAMPLE_ROWS or chunk.media:
            break
    return head, chain(head, chunks)


def _first_chunks(files: list[SourceFile], how: Reading) -> list[Chunk]:
    """The first rows of every file: a column that is asked for may stand in the later ones only."""
    if how.format not in TABLES:
        return []
    firsts = (next(reader_named(how.format)([file], how, lambda *_: None), None) for file in files[:FILES_LOOKED])
    return [_without_id(chunk) for chunk in firsts if chunk is not None]


def choose_roles(
    head: Sequence[Chunk], wanted: dict[str, str], beside: dict[str, str], how: Reading
) -> dict[str, str]:
    """Column name to role: what was asked for, or what the first thousands of rows look like.

    Raises ``column-missing``, ``column-doubled``, ``delimiter-wrong``, ``no-inputs``.
    """
    names = list(dict.fromkeys(name for chunk in head for name in chunk.columns))
    wanted, beside = (
        {("source_id" if name == ID else name): role for name, role in roles.items()}
        for roles in (wanted, beside)
    )
    for name in {**wanted, **beside}:
        _require(name, names, head[0].file)
    twice = doubled(names)
    visible = [name for name in names if "\0" not in name]
    media = {name: "image" for chunk in head for name in chunk.media}
    fixed = {
        "images": {"image": "image", how.label or "label": "label"},
        "pixels": {"image": "image", how.label or "label": "label"},
        "lines": {"text": "text", how.label or "label": "label"},
        "documents": {"text": "text", how.label or "label": "label"},
    }.get(how.format, {})
    if fixed and not wanted:
        wanted = {name: role for name, role in fixed.items() if name in visible and role != "label"}
        beside = {
            **{name: role for name, role in fixed.items() if name in visible and role == "label"},
            **beside,
        }
    if not wanted:
        sample = {
            name: [value for chunk in head for value in chunk.columns.get(name, ())]
            for name in visible
            if name not in beside and name not in media
        }
        wanted = {
            name: one.role
            for name, one in profiles(sample).items()
            if one.role not in ("other", "time") and not rounded_numbers(sample[name])
        } | media
    roles = {name: ({**wanted, **beside})[name] for name in visible if name in wanted or name in beside}
    for name in roles:
        if name in twice:
            raise MofangError("column-doubled", column=name, file=head[0].file)
    if not with_role(roles, ("text", "number", "category", *MEDIA_ROLES)):
        raise MofangError("no-inputs", columns=", ".join(visible))
    return roles


def _require(name: str, names: Sequence[str], file: str) -> None:
    if name in names:
        return
    shown = ", ".join(one for one in names if "\0" not in one)
    raise MofangError("column-missing", column=name, columns=shown, nearest=nearest(name, names), file=file)


def convert(chunk: Chunk, roles: dict[str, str], reject: Reject) -> tuple[dict[str, list[Any]], Media, int]:
    """The chunk's columns as their roles want them; rows that do not fit are rejected by name."""
    count = len(chunk.numbers)
    missing = [name for name in roles if name not in chunk.columns]
    if missing and (
        chunk.file and len(missing) == len(roles) or any(roles[name] in MEDIA_ROLES for name in missing)
    ):
        raise MofangError(
            "column-missing",
            column=missing[0],
            columns=", ".join(chunk.columns),
            nearest=nearest(missing[0], chunk.columns),
            file=chunk.file,
        )
    bad: dict[int, tuple[str, str, str]] = {}
    columns: dict[str, list[Any]] = {}
    for name, role in roles.items():
        values = chunk.columns.get(name, [None] * count)
        if role == "number":
            columns[name] = _numbers(name, values, bad)
        else:
            columns[name] = _texts(name, values, role, bad)
    if not bad:
        return columns, {name: values for name, values in chunk.media.items() if name in roles}, count
    for place, (reason, detail, value) in sorted(bad.items()):
        reject(chunk.file, chunk.numbers[place], reason, detail, value)
    good = [place for place in range(count) if place not in bad]
    columns = {name: [values[place] for place in good] for name, values in columns.items()}
    media = {name: [values[place] for place in good] for name, values in chunk.media.items() if name in roles}
    return columns, media, len(good)


def _numbers(name: str, values: Sequence[Any], bad: dict[int, tuple[str, str, str]]) -> list[float | None]:
    found: list[float | None] = []
    for place, value in enumerate(values):
        try:
            found.append(number_of(value))
        except (ValueError, TypeError, OverflowError):
            found.append(None)
            bad.setdefault(place, ("not-a-number", name, str(value)))
    return found


def _texts(
    name: str, values: Sequence[Any], role: str, bad: dict[int, tuple[str, str, str]]
) -> list[str | None]:
    found: list[str | None] = []
    for place, value in enumerate(values):
        if isinstance(value, dict | list | bytes | set):
            bad.setdefault(place, ("not-a-value", name, str(value)))
            found.append(None)
        else:
            found.append(text_of(value))
    if not is_clean("".join(one for one in found if one)):
        for place, one in enumerate(found):
            if one and not is_clean(one):
                bad.setdefault(place, ("undecodable", name, one))
                found[place] = None
    if role in ("label", "category", "group", "time", "person"):
        return [(one.strip() or None) if one else None for one in found]
    return found
