"""Collect: records of any supported format become one set of records, with their licence, their origin and
their ids."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.executor import Local
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.core.tombstones import Tombstones
from mofang.data.collecting.choosing import asked, choose_roles, sample
from mofang.data.collecting.earlier import FILES, Earlier, FileTable
from mofang.data.collecting.merging import Merged, Merger, is_small
from mofang.data.collecting.pieces import clear_unfinished, read_piece
from mofang.data.collecting.planning import Plan
from mofang.data.collecting.provenance import Provenance, provenance, shown
from mofang.data.columns import rounded_numbers
from mofang.data.exporting.returning import files_told, roles_told, told_among
from mofang.data.exporting.told import Told
from mofang.data.readers import Format, Reading, reader_named
from mofang.data.records import SMALL_GROUP_BYTES, RecordIds, Records, RecordWriter
from mofang.data.rejected import RejectedFile
from mofang.data.remote import bring as remote
from mofang.data.sources import files as sources
from mofang.data.sources.files import Source, SourceFile
from mofang.data.sources.formats import detect_format, files_of, find_label_file

Columns = tuple[str, ...]
Count = Annotated[int, Field(ge=1)]
FILES_LISTED = 1000


@stage(version=5, source_digest=sources.source_digest)
def collect(
    run: Run,
    previous: Records | None = None,
    *,
    source: Source,
    licence: Annotated[str, Field(min_length=1)],
    terms: str = "",
    origin: str = "",
    consent: str = "",
    obtained: str = "",
    retain: str = "",
    retain_until: str = "",
    format: Format = "auto",
    label: str = "",
    text: Columns = (),
    numbers: Columns = (),
    categories: Columns = (),
    image: str = "",
    audio: str = "",
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
    max_cell_chars: Count = 1_000_000,
    damaged: Literal["stop", "keep"] = "stop",
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Records:
    """Read records from a file, a folder, a glob, an archive or an installed package, and record their origin.

    ``text``, ``numbers``, ``categories``, ``image`` and ``audio`` name the input columns; without them the columns' own values
    decide. A row or file that cannot be read is counted and kept in rejected.parquet with its reason; more than ``bad_share``
    of them stops the run. Unchanged files of ``previous`` are taken over, only new and changed ones read. ``terms``, ``consent``
    (the legal basis), ``obtained`` (a day) and how long records may be kept (``retain`` 365d from then, or ``retain_until``)
    travel with them. Empty ``encoding``, ``delimiter`` and ``sheet`` are found out. A packed file that is cut short stops the
    run; ``damaged`` keep takes what comes before. Long numbers rounded by a spreadsheet are counted.
    """
    said = provenance(licence, terms, consent, origin, obtained, retain, retain_until, person)
    brought, files, left_out, chosen, label_file, told = _files(run, source, format, label_file, damaged)
    how = Reading(chosen, encoding, delimiter, header, skip_lines, names, label, label_file, sheet, max_cell_chars,
                  several=len(files) > 1, damaged=damaged, told=told)
    wanted = asked({"text": text, "number": numbers, "category": categories, "image": (image,), "audio": (audio,)})
    beside = asked({"group": (group,), "time": (time,), "person": (person,), "other": keep, "label": (label,)})
    wanted, beside = roles_told(told) if told is not None and not wanted and not beside else (wanted, beside)
    digests = brought.digests if brought else sources.file_digests(sources.on_disk(files), run.shop.path / "cache")
    about = {**said.about(), "source": _about_source(source, files, left_out, how, digests, brought)}
    earlier = Earlier(brought.before if brought and brought.before else previous)
    with run.part("rejected.parquet") as path, RejectedFile(path) as rejected:
        made, roles = _write(run, files, how, wanted, beside, about, digests, earlier, rejected, brought)
        _require_rows(made, source, rejected, bad_share)
    run.measure(rows=made.rows, blank_lines=made.blank, files=len(files), files_left_out=len(left_out),
                rejected=dict(rejected.counts), format=chosen, columns=roles, **made.measures())
    _tell(run, said, previous, earlier, files, made, brought)
    return run.result(Records)


def _require_rows(made: Merged, source: str, rejected: RejectedFile, bad_share: float) -> None:
    rejected.require_share(made.rows, bad_share)
    if not made.rows:
        raise MofangError("no-records", source=source)


def _tell(
    run: Run, said: Provenance, previous: Records | None, earlier: Earlier, files: list[SourceFile], made: Merged,
    brought: remote.Brought | None,
) -> None:
    """What was taken over and what looks like a slip: on the terminal, and among the run's figures. What was fetched goes."""
    if brought:
        brought.done()
    run.licence(said.licence)
    if previous is not None:
        gone = len(earlier.names - {file.name for file in files})
        run.measure(files_taken=made.taken, files_read=made.read, files_gone=gone)
        run.announce("{taken} unchanged files were taken over, {read} read; {gone} are gone.",
                     "沿用 {taken} 个未变的文件，读取 {read} 个；{gone} 个已不在。", taken=made.taken, read=made.read, gone=gone)
    for sentence in shown(said):
        run.announce("{sentence}", "{sentence}", sentence=sentence)
    if said.hints:
        run.measure(hints=[english for english, _ in said.hints])


def _files(
    run: Run, source: str, format: str, label_file: str, damaged: str
) -> tuple[remote.Brought | None, list[SourceFile], list[SourceFile], str, str, Told | None]:
    """What was brought from another machine, the files to read, those left out, the format, the label file beside images or
    sounds, and what an export says."""
    brought = remote.brought(run)
    found = brought.files if brought else sources.source_files(source, run.shop)
    if damaged == "keep":
        found = [replace(file, cut=[]) for file in found]
    told = told_among(found) if format == "auto" and not brought else None
    if told is not None:
        files = files_told(found, told)
        return brought, files, [file for file in found if file not in set(files)], told.format, "", told
    if isinstance(run.shop.executor, Local) and not is_small(found):
        run.shop.executor.begin(read_piece.__module__)
    chosen = detect_format(found) if format == "auto" else format
    if chosen in ("images", "sounds") and not label_file:
        label_file = find_label_file(found, chosen)
    return brought, *files_of(found, chosen, label_file), chosen, label_file, None


def _about_source(
    source: str, files: list[SourceFile], left_out: list[SourceFile], how: Reading, digests: dict[str, str],
    brought: remote.Brought | None,
) -> dict[str, Any]:
    there = sources.on_disk(files)
    listed = [
        {"name": file.name, "size_bytes": file.size_bytes, "sha256": digests[file.name]} for file in there[:FILES_LISTED]
    ]
    return {
        "given": source,
        "format": how.format,
        **({"sheets": how.sheets} if how.format == "excel" else {}),  # filled while reading, written after that
        "count": len(files),
        "digest": digest_of(sorted(digests.items())),
        "files": listed,
        "left_out": [file.name for file in left_out[:FILES_LISTED]],
        **(brought.about() if brought else {}),
    }


def _write(
    run: Run,
    files: list[SourceFile],
    how: Reading,
    wanted: dict[str, str],
    beside: dict[str, str],
    about: dict[str, Any],
    digests: dict[str, str],
    earlier: Earlier,
    rejected: RejectedFile,
    brought: remote.Brought | None = None,
) -> tuple[Merged, dict[str, str]]:
    """Read or take over, convert, number and write all records; what came of it, and their columns with roles."""
    rejected.erased = Tombstones(run.shop)
    for name, reason in [*sources.refused_entries(files), *(brought.refused if brought else ())]:
        rejected.add(name, 0, reason)
    looked = brought.sample() if brought else None
    head = looked[0] if looked else sample(files, how, [*wanted, *beside])
    if not head:
        for _ in reader_named(how.format)(files, how, rejected.add):
            pass
        return Merged(blank=how.blank_lines[0]), {}
    roles = looked[1] if looked else choose_roles(head, wanted, beside, how)
    labels = None
    if how.format in ("images", "sounds"):
        from mofang.data.readers.images import labels_by_name

        labels = labels_by_name(files, how, rejected.add)
        files = [file for file in files if file.kind == how.format]
    suspected = tuple(name for name in roles if any(rounded_numbers(chunk.columns.get(name, ())) for chunk in head))
    del head, looked  # some megabytes of values
    by_path = {file.path: digests[file.name] for file in sources.on_disk(files)}
    secret, pieces = run.secret("records"), run.scratch / "pieces"
    if kept := clear_unfinished(pieces):
        run.measure(pieces_kept=kept)
    plan = Plan(files, how, roles, suspected, by_path, run.spec.version, pieces, secret, labels)
    with (
        run.part(FILES) as path,
        closing(FileTable(path, rejected.total)) as table,
        RecordWriter(run, roles=roles, about=about, group_bytes=SMALL_GROUP_BYTES) as writer,
        run.progress("Collecting", "正在收集") as bar,
    ):
        ids = RecordIds(secret, roles, run.scratch / "ids")
        made = Merger(plan, earlier, ids, writer, rejected, table, bar).run(run.shop.executor)
        how.sheets.update(made.sheets)
    return made, roles

