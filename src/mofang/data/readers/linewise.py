"""Rows of delimited text: blocks of whole lines parsed in one go, and row by row where a quote, an end or a width is odd."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING

from mofang.data.readers import Reading, Reject

if TYPE_CHECKING:
    from mofang.data.readers.delimited import Heading

LINE_CHARS = 16 * 2**20
FIELD_CHARS = 2 * LINE_CHARS
BLOCK_LINES = 2000
BLOCK_CHARS = 4 * 2**20


class Lines:
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
    lines: Lines, delimiter: str, width: int, file: str, how: Reading, reject: Reject
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


def blocks_of(lines: Lines, heading: Heading, how: Reading, reject: Reject) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
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
