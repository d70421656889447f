"""Delimited text (CSV, TSV): quoted line ends, unclosed quotes, ragged rows and enormous cells, each
survived row by row."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper

from mofang.core.errors import MofangError
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

DELIMITERS = (
    "\t",
    ";",
    "|",
    ",",
)  # where two explain a file equally well, the first does: commas stand in texts
LINE_CHARS = 16 * 2**20
FIELD_CHARS = 2 * LINE_CHARS
BLOCK_LINES = 2000
BLOCK_CHARS = 4 * 2**20
SAMPLE_ROWS = 300
SAMPLE_CHARS = 512 * 1024
NAME = re.compile(r"\w[\w\- ./()（）%#:\[\]]{0,39}|\w[\w.\-]{0,99}")
NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?%?\s*")


class _Lines:
    """Feeds lines to the csv module and remembers those of the row in progress, so that a bad row can be
    undone."""

    def __init__(self, text: TextIOWrapper) -> None:
        self.number = 0
        self.taken: list[str] = []
        self.ended = False
        self.overlong = False
        self.cut = False
        self._text = text
        self._again: deque[str] = deque()

    @property
    def waiting(self) -> bool:
        """Whether lines that were given back are still to come."""
        return bool(self._again)

    def block(self) -> list[str]:
        """Some of the next lines, none at the end. A line of enormous length comes cut, and is then read anew."""
        readline, size, found = self._text.readline, 0, list(self._again)
        self._again.clear()
        while len(found) < BLOCK_LINES and size < BLOCK_CHARS and (line := readline(LINE_CHARS)):
            found.append(line)
            size += len(line)
            if len(line) >= LINE_CHARS:  # the rest of it is passed over when it is read by itself
                break
        self.number += len(found)
        self.taken.clear()
        return found

    def give_back(self, block: list[str]) -> None:
        """Put the lines of a block back, to be read one by one."""
        self._again.extendleft(reversed(block))
        self.number -= len(block)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(LINE_CHARS)
        if not line:
            self.ended = True
            self.cut = self.cut or bool(self.taken)
            raise StopIteration
        if len(line) >= LINE_CHARS and line[-1] not in "\r\n":
            self.overlong = True
            while (rest := self._text.readline(LINE_CHARS)) and rest[-1] not in "\r\n":
                pass
        self.number += 1
        self.taken.append(line)
        return line

    def begin_row(self) -> int:
        """Forget the last row's lines; the number of the next line, from 1."""
        self.taken.clear()
        self.overlong = False
        return self.number + 1

    def undo_all_but_first(self) -> str:
        """Give back the lines after the first of the row in progress; the first line."""
        first, rest = self.taken[0], self.taken[1:]
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        self.taken = [first]
        self.ended = False
        return first


def _rows(
    lines: _Lines, delimiter: str, width: int, file: str, how: Reading, reject: Reject
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that has ``width`` cells; all others go to ``reject``."""
    csv.field_size_limit(FIELD_CHARS)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        number = lines.begin_row()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            first = lines.undo_all_but_first()
            reason = "cell-too-large" if "field limit" in str(error) else "not-csv"
            reject(file, number, reason, str(error), first)
            reader = csv.reader(lines, delimiter=delimiter)
            continue
        if len(lines.taken) > 1 and (
            lines.ended or len(row) != width or _literal_quotes(lines.taken, delimiter, width)
        ):
            literal = delimiter == "\t" and lines.taken[0].count("\t") == width - 1
            first = lines.undo_all_but_first()  # a quote that nobody closed had swallowed the lines after it
            reader = csv.reader(lines, delimiter=delimiter)
            if literal:
                yield number, first.rstrip("\r\n").split("\t")
            else:
                reject(file, number, "quote-open", "", first)
        elif not row:
            how.count_blank()
        elif lines.overlong:
            reject(file, number, "cell-too-large", f"> {LINE_CHARS}", lines.taken[0])
        elif len(row) != width:
            reject(file, number, "ragged-row", f"{len(row)} ≠ {width}", "".join(lines.taken))
        else:
            yield number, row


def _literal_quotes(taken: Sequence[str], delimiter: str, width: int) -> bool:
    """True if every line by itself is a whole tab-separated row: such files do not quote."""
    return delimiter == "\t" and width > 1 and all(line.count("\t") == width - 1 for line in taken)


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
    lines = _Lines(text)
    if not how.start:
        for _ in range(how.skip_lines):
            next(lines, None)
        if heading.header:
            while not next(csv.reader(lines, delimiter=heading.delimiter), None):
                lines.begin_row()
    rows = _blocks(lines, heading, how, reject)
    yield from _chunks(rows, heading.names, heading.file, how, reject)
    how.lines[0], how.open_end[0] = lines.number, int(lines.cut)


def _blocks(lines: _Lines, heading: Heading, how: Reading, reject: Reject) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
    """Line numbers and cells of rows, many at a time: a block of lines that are one whole row each is parsed in one go,
    any other row by row."""
    width, delimiter = len(heading.names), heading.delimiter
    first = lines.number + 1
    while block := lines.block():
        found = _whole_rows(block, delimiter, width, how.max_cell_chars)
        if found is None:
            lines.give_back(block)
            slow = _rows(lines, delimiter, width, heading.file, how, reject)
            if heading.header:
                slow = _without(slow, heading.first, how)
            for number, row in slow:
                yield (number,), [row]
                if not lines.waiting:
                    break
        else:
            rows, places, used = found
            lines.give_back(block[used:])
            if heading.header and heading.first in rows:
                how.count_blank(rows.count(heading.first))
                kept = [place for place, row in enumerate(rows) if row != heading.first]
                rows, places = [rows[place] for place in kept], [places[place] for place in kept]
            yield [first + place for place in places], rows
        first = lines.number + 1


def _whole_rows(
    block: list[str], delimiter: str, width: int, max_chars: int
) -> tuple[list[list[str]], Sequence[int], int] | None:
    """The rows of these lines, the line at which each begins, and how many lines they take; the last row may go on behind
    the block and is left. None unless all are as wide as the header and none can hold too long a cell."""
    if max(map(len, block)) > max_chars or not block[-1].endswith(("\n", "\r")):
        return None
    reader = csv.reader(block, delimiter=delimiter)
    rows: list[list[str]] = []
    ends = [0]
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error:
        return None
    if rows[-1] and rows[-1][-1].endswith(("\n", "\r")):  # a quote is still open
        rows.pop()
        ends.pop()
    alone = len(rows) == ends[-1]
    if not rows or set(map(len, rows)) != {width} or (not alone and (delimiter == "\t" or _longest(rows) > max_chars)):
        return None
    return rows, ends[:-1], ends[-1]


def _longest(rows: list[list[str]]) -> int:
    return max(max(map(len, row)) for row in rows)


def _without(
    rows: Iterator[tuple[int, list[str]]], header: list[str], how: Reading
) -> Iterator[tuple[int, list[str]]]:
    """The rows that do not repeat the header, as those of files put one after another do."""
    for number, row in rows:
        if row == header:
            how.count_blank()
        else:
            yield number, row


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
    names: list[str] = []
    for place, cell in enumerate(head[0]):
        name = cell.strip().lstrip("\ufeff") or f"column_{place + 1}"
        names.append(name if name not in names else f"{name}\0{place + 1}")
    return names


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
