"""Delimited text (CSV, TSV): quoted line ends, unclosed quotes, ragged rows and enormous cells, each
survived row by row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper

from mofang.core.errors import MofangError
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.readers.linewise import BLOCK_CHARS, FIELD_CHARS, LINE_CHARS, Lines, blocks_of
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

DELIMITERS = (
    "\t",
    ";",
    "|",
    ",",
)  # where two explain a file equally well, the first does: commas stand in texts
COLUMNS_MOST = 20_000
SAMPLE_ROWS = 300
SAMPLE_CHARS = 512 * 1024
NAME = re.compile(r"\w[\w\- ./()（）%#:\[\]]{0,39}|\w[\w.\-]{0,99}")
NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?%?\s*")


@dataclass(frozen=True)
class Heading:
    """How one file of a source is read: found out from its first lines unless it was given."""

    file: str
    encoding: str
    delimiter: str
    header: bool
    names: list[str]
    first: list[str]


def headings(files: Sequence[SourceFile], how: Reading) -> Iterator[tuple[SourceFile, Heading | None]]:
    """Each file with its heading; None for one that holds nothing.

    A later file without a header has the columns of the first that had one, if it is as wide.
    """
    known = list(how.known)
    for file in files:
        heading = how.heading or (_heading(file, known, how) if file.size_bytes else None)
        if heading and heading.header and not known:
            known += heading.names
        yield file, heading


def heading_of(file: SourceFile, how: Reading) -> Heading | None:
    """What is found out about one file; None for one that holds nothing."""
    return _heading(file, list(how.known), how)


def _heading(file: SourceFile, known: list[str], how: Reading) -> Heading | None:
    encoding = how.encoding or detect_encoding(file)
    sample = sample_lines(file, encoding, how.skip_lines)
    delimiter = how.delimiter or detect_delimiter(sample, file)
    csv.field_size_limit(FIELD_CHARS)
    head = [row for row in csv.reader(sample, delimiter=delimiter) if row]
    if not head:
        return None
    if (
        how.delimiter
        and len(head) > 2
        and modal_width(head) == 1
        and max(delimiter_scores(sample).values()) > 0.9
    ):
        raise MofangError("delimiter-wrong", file=file.name, header=head[0][0])
    if len(head[0]) > COLUMNS_MOST:
        raise MofangError("too-many-columns", file=file.name, columns=len(head[0]), most=COLUMNS_MOST)
    header = _has_header(head, known) if how.header == "auto" else how.header == "yes"
    names = _names(head, header, how)
    if not header and len(names) == len(known) and not how.names:
        names = list(known)
    return Heading(file.name, encoding, delimiter, header, names, head[0])


def read_csv(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All rows of delimited files; how each is read is found out by itself (see ``headings``)."""
    for file, heading in headings(files, how):
        if heading is None:
            reject(file.name, 0, "file-empty")
            continue
        with open_text(file, heading.encoding, how.start, how.end) as text:
            yield from _read_file(text, heading, how, reject)


def _read_file(text: TextIOWrapper, heading: Heading, how: Reading, reject: Reject) -> Iterator[Chunk]:
    lines = Lines(text)
    if not how.start:
        for _ in range(how.skip_lines):
            next(lines, None)
        if heading.header:
            while not next(csv.reader(lines, delimiter=heading.delimiter), None):
                lines.begin_row()
    rows = blocks_of(lines, heading, how, reject)
    yield from _chunks(rows, heading.names, heading.file, how, reject)
    how.lines[0], how.open_end[0] = lines.number, int(lines.cut)


def _has_header(head: Sequence[Sequence[str]], known: Sequence[str]) -> bool:
    """True if the first row names the columns. Beside a file whose header is known, names that come again decide, and
    a row as wide with none of them is a header only if numbers stand below it."""
    if not known:
        return looks_like_header(head)
    first = [cell.strip().lstrip("\ufeff") for cell in head[0]]
    shared = len(set(first) & {name.split("\0")[0] for name in known})
    if shared:
        return 2 * shared >= min(len(first), len(known))
    if len(first) != len(known):
        return looks_like_header(head)
    rest = [row for row in head[1:] if len(row) == len(first)]
    return any(
        cell and not NUMBER.fullmatch(cell) and _numeric([row[place] for row in rest]) for place, cell in enumerate(first)
    )


def _chunks(
    blocks: Iterator[tuple[Sequence[int], list[list[str]]]], names: list[str], file: str, how: Reading, reject: Reject
) -> Iterator[Chunk]:
    numbers: list[int] = []
    taken: list[list[str]] = []
    size = 0
    for places, rows in blocks:
        if len(rows) == 1:
            size += sum(map(len, rows[0]))
            if max(map(len, rows[0])) > how.max_cell_chars:
                reject(file, places[0], "cell-too-large", f"> {how.max_cell_chars}", "")
                continue
        else:
            size += BLOCK_CHARS
        numbers += places
        taken += rows
        if len(taken) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk(file, numbers, _columns(names, taken))
            numbers, taken, size = [], [], 0
    yield Chunk(file, numbers, _columns(names, taken))


def _columns(names: list[str], rows: list[list[str]]) -> dict[str, list[str]]:
    if not rows:
        return {name: [] for name in names}
    return {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def _names(head: list[list[str]], header: bool, how: Reading) -> list[str]:
    """Column names: given, from the header, or column_1, column_2, …; a doubled name keeps its first
    column."""
    if how.names:
        return list(how.names)
    if not header:
        return [f"column_{place + 1}" for place in range(modal_width(head))]
    names: dict[str, None] = {}
    for place, cell in enumerate(head[0]):
        name = cell.strip().lstrip("\ufeff") or f"column_{place + 1}"
        names[name if name not in names else f"{name}\0{place + 1}"] = None
    return list(names)


def doubled(names: Sequence[str]) -> set[str]:
    """The names that a header holds more than once (their later columns carry a NUL in the name)."""
    return {name.split("\0")[0] for name in names if "\0" in name}


def sample_lines(file: SourceFile, encoding: str, skip: int = 0) -> list[str]:
    """The first lines of a file, at most 300 of them and half a million characters."""
    with open_text(file, encoding) as text:
        for _ in range(skip):
            text.readline(LINE_CHARS)
        lines: list[str] = []
        size = 0
        while len(lines) < SAMPLE_ROWS and size < SAMPLE_CHARS and (line := text.readline(SAMPLE_CHARS)):
            lines.append(line)
            size += len(line)
    return lines


def modal_width(rows: Sequence[Sequence[str]]) -> int:
    """The commonest number of cells in a row."""
    return Counter(len(row) for row in rows).most_common(1)[0][0] if rows else 0


def delimiter_scores(lines: Sequence[str]) -> dict[str, float]:
    """How well each delimiter explains the lines: the share of rows with the commonest width, if the first
    has it too."""
    csv.field_size_limit(FIELD_CHARS)
    scores = {}
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        width = modal_width(rows)
        share = sum(len(row) == width for row in rows) / max(len(rows), 1)
        scores[delimiter] = 0.0 if width < 2 else share * (1.0 if len(rows[0]) == width else 0.5)
    return scores


def detect_delimiter(lines: Sequence[str], file: SourceFile) -> str:
    """The delimiter of these lines; a file of one column is read with commas."""
    scores = delimiter_scores(lines)
    best = max(DELIMITERS, key=lambda one: scores[one])
    if scores[best] < 0.5:
        if any("\0" in line for line in lines):
            raise MofangError("not-text", file=file.name)
        return ","
    return best


def looks_like_header(rows: Sequence[Sequence[str]]) -> bool:
    """True if the first row names the columns rather than being the first record."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    cells = [cell.strip().lstrip("\ufeff") for cell in first]
    if any(NUMBER.fullmatch(cell) for cell in cells if cell) or not any(cells):
        return False
    if not all(NAME.fullmatch(cell) for cell in cells if cell):
        return False
    if not rest or any(cell and _numeric([row[place] for row in rest]) for place, cell in enumerate(cells)):
        return True
    for place, cell in enumerate(cells):
        values = [row[place].strip() for row in rest]
        if cell in values and len(set(values)) < max(len(values) // 2, 3):
            return False  # the first cell is one of a few classes that come again
    known = {
        "text",
        "label",
        "content",
        "review",
        "category",
        "class",
        "target",
        "sentiment",
        "id",
        "标签",
        "文本",
        "内容",
    }
    if any(cell.lower() in known for cell in cells):
        return True
    longest = max(len(cell) for cell in cells)
    typical = sorted(max(len(cell) for cell in row) for row in rest)[len(rest) // 2]
    return longest <= 24 and (typical > longest or len(set(cells)) == len(cells))


def _numeric(values: Sequence[str]) -> bool:
    filled = [value for value in values if value.strip()]
    return bool(filled) and sum(bool(NUMBER.fullmatch(value)) for value in filled) >= 0.9 * len(filled)
