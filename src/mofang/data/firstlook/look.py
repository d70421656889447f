"""The first thousands of rows of a source, read as a run would read them, and a name for the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.columns import Profile, number_of
from mofang.data.firstlook.finding import Remark
from mofang.data.firstlook.places import require_same_columns
from mofang.data.readers import Reading, reader_named
from mofang.data.readers.delimited import detect_delimiter, headings, looks_like_header, sample_lines
from mofang.data.sources.files import PACKAGE, SourceFile
from mofang.data.sources.textfile import detect_encoding, is_clean

LOOK_ROWS = 100_000
LOOK_CHARS = 200_000_000
LOOK_CELLS = 10_000_000
FILES_COMPARED = 30
FIRST_ROWS = 3
PROFILE_ROWS = 5_000
PROFILE_CELLS = 200_000
PROFILE_ROWS_LEAST = 500
GENERIC = {"data", "dataset", "train", "training", "all", "file", "files", "images", "samples", "raw", "output", "数据"}


@dataclass(frozen=True)
class Look:
    """The rows that were looked at, by column."""

    file: str
    columns: dict[str, list[Any]]
    rows: int
    complete: bool
    rejected: Counter[str]
    headers: list[tuple[str, frozenset[str]]] = field(default_factory=list)


def name_of(source: str) -> str:
    """A name for the model from the name of its source: lower case, without endings and signs; of a glob what stands
    before its first wildcard."""
    path = Path(source.removeprefix(PACKAGE)).expanduser()
    parts = [re.split(r"[*?\[]", part)[0] for part in (path if path.name else path.resolve()).resolve().parts]
    for part in reversed(parts):
        stem = re.sub(
            r"(\.(csv|tsv|tab|psv|jsonl?|ndjson|parquet|pq|txt|text|gz|xlsx|xlsm|xls|ods|zip))+$", "", part, flags=re.I
        )
        plain = re.sub(r"[^\w]+", "-", stem.lower()).strip("-_")[:40]
        if plain and plain not in GENERIC and re.search(r"[^\W\d_]", plain):
            return plain
    return "model"


def reading_of(
    files: Sequence[SourceFile], format: str, encoding: str, delimiter: str, label: str, sheet: str = ""
) -> Reading:
    """How to read the files, told from the first ones; what differs between them is left to be found out from each."""
    file, header = files[0], "auto"
    if format == "csv" and len(files) > 1:
        return _reading_of_several(files, encoding, delimiter)
    if format in ("csv", "jsonl", "lines", "documents", "html", "logs", "pixels", "images"):
        encoding = encoding or detect_encoding(file)
    if format == "csv" and file.size_bytes:
        import csv

        lines = sample_lines(file, encoding)
        delimiter = delimiter or detect_delimiter(lines, file)
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        header = "yes" if rows and looks_like_header(rows) else "no"
    return Reading(
        format=format,
        encoding=encoding if format not in ("documents", "html") else "",
        delimiter=delimiter,
        header=header,
        label=label if format in ("lines", "documents") else "",
        sheet=sheet,
    )


def _reading_of_several(files: Sequence[SourceFile], encoding: str, delimiter: str) -> Reading:
    """Several files are each looked at when they are read: next month's may come from another program."""
    how = Reading(format="csv", encoding=encoding, delimiter=delimiter)
    named = any(one.header for _, one in headings(files[:FILES_COMPARED], how) if one is not None)
    return Reading(format="csv", encoding=encoding, delimiter=delimiter, header="auto" if named else "no")


def sheet_of(file: SourceFile, wanted: str) -> tuple[str, tuple[Remark, ...], bool]:
    """(the sheet that is read, if the workbook holds several; what to say of them; whether the sheet has a header)."""
    from mofang.data.readers.excel import look_at_sheets

    look = look_at_sheets(file, wanted)
    filled = [one.name for one in look.sheets if one.rows and one.visible]
    if len(filled) < 2:
        return wanted, (), look.header_row > 0 or not look.sheets
    values = {"names": ", ".join(filled[:10]), "sheet": look.chosen}
    return look.chosen, () if wanted else (Remark("sheets", values),), look.header_row > 0


def look_at(source: str, files: list[SourceFile], how: Reading) -> Look:
    """The first rows of a source, and the columns of its first files, which must be those of one table."""
    rejected: Counter[str] = Counter()
    headers = _headers(files, how) if how.format in ("csv", "jsonl", "parquet", "excel") else []
    require_same_columns(source, headers)
    columns: dict[str, list[Any]] = {}
    rows = chars = 0
    complete = True
    for chunk in reader_named(how.format)(files, how, lambda file, row, reason, *_: rejected.update([reason])):
        if rows >= LOOK_ROWS or chars >= LOOK_CHARS or rows * len(columns) >= LOOK_CELLS:
            complete = False
            break
        if not chunk.numbers:
            continue
        for name in {**columns, **chunk.columns}:
            values = chunk.columns.get(name, [None] * len(chunk.numbers))
            columns.setdefault(name, [None] * rows).extend(values)
            chars += 16 * sum(len(value) for value in values[::16] if isinstance(value, str))
        rows += len(chunk.numbers)
    return Look(files[0].name, columns, rows, complete, rejected, headers)


def _headers(files: Sequence[SourceFile], how: Reading) -> list[tuple[str, frozenset[str]]]:
    """(file, its columns) of the first files, each from its first rows."""
    if len(files) < 2:
        return []
    if how.format == "csv":
        compared = headings(files[:FILES_COMPARED], how)
        return [(file.name, frozenset(one.names if one else ())) for file, one in compared]
    found = []
    for file in files[:FILES_COMPARED]:
        chunk = next(iter(reader_named(how.format)([file], how, lambda *_: None)), None)
        found.append((file.name, frozenset(chunk.columns) if chunk else frozenset()))
    return found


def rows_in_all(look: Look, files: Sequence[SourceFile], how: Reading) -> int:
    """How many rows the source holds: counted, or told from its bytes where only the first were looked at."""
    if look.complete:
        return look.rows
    if how.format == "parquet":
        import pyarrow.parquet as pq

        return sum(pq.read_metadata(file.path).num_rows for file in files)
    step = max(look.rows // 500, 1)
    sample = list(zip(*(values[::step] for values in look.columns.values()), strict=True))
    written = sum(len(str("" if value is None else value).encode(errors="replace")) + 1 for row in sample for value in row)
    named = sum(len(name.encode()) + 5 for name in look.columns) if how.format == "jsonl" else 0
    packed = 3.5 if files[0].name.lower().endswith(".gz") else 1.0
    total = sum(file.size_bytes for file in files)
    return max(round(total * packed / (written / len(sample) + named)), look.rows)


def nothing_read(source: str, rejected: Counter[str]) -> MofangError:
    """The error for a source without a single record."""
    if not rejected or set(rejected) == {"file-empty"}:
        return MofangError("no-records", source=source)
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common())
    return MofangError("nothing-readable", source=source, reasons=reasons)


def require_decoded(look: Look, sample: dict[str, list[Any]]) -> None:
    """A wrong encoding leaves bytes that are no characters in many rows; a few such rows are rejected later."""
    rows = list(zip(*sample.values(), strict=True))
    bad = sum(not is_clean("".join(value for value in row if isinstance(value, str))) for row in rows)
    if bad > 0.05 * len(rows):
        raise MofangError("encoding-wrong", file=look.file, bad=bad, rows=len(rows))


def sample_step(rows: int, columns: int) -> int:
    """Every how-manieth row is looked at closely: thousands of rows, fewer where there are many columns."""
    wanted = min(PROFILE_ROWS, max(PROFILE_CELLS // max(columns, 1), PROFILE_ROWS_LEAST))
    return max(rows // wanted, 1)


def misfit_rows(columns: Mapping[str, Sequence[Any]], found: Mapping[str, Profile]) -> set[int]:
    """Places of rows that a run will reject, because they hold words in a column of numbers: a line about the file
    above its table, or a total below it."""
    bad: set[int] = set()
    for name, values in columns.items():
        if not found[name].numeric:
            continue
        places = range(len(values)) if found[name].number_share < 1 else [*range(min(FIRST_ROWS, len(values))), len(values) - 1]
        bad.update(place for place in places if not _is_number(values[place]))
    return bad


def _is_number(value: Any) -> bool:
    try:
        number_of(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def without_rows(columns: Mapping[str, list[Any]], look: Look, gone: set[int]) -> tuple[dict[str, list[Any]], Look]:
    """The columns and the look without these rows, which are counted as rejected."""
    kept = {name: [value for place, value in enumerate(values) if place not in gone] for name, values in columns.items()}
    rejected = look.rejected + Counter({"not-a-number": len(gone)})
    return kept, replace(look, rows=look.rows - len(gone), rejected=rejected)
