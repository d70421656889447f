"""Spreadsheets (xlsx, xlsm, xls, ods): the sheet that looks most like a table, its header found below titles, opened in
a child process under limits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import IO, Any

import orjson

from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.nearest import nearest
from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject, workbook
from mofang.data.readers.delimited import looks_like_header, read_csv
from mofang.data.sources.files import SourceFile, ending_of

FILE_BYTES = 512 * 2**20
HEAD_ROWS = 300
HEADER_WITHIN = 60
HEADER_AFTER = 10
ENOUGH_FILLED = 0.75  # of the usual number of cells: titles and notes have fewer
ZIPPED, COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")

Row = tuple[int, list[Any]]


@dataclass(frozen=True)
class Sheet:
    """One sheet of a workbook: its name, how large its filled part is, whether it is shown."""

    name: str
    rows: int
    columns: int
    visible: bool


@dataclass(frozen=True)
class Look:
    """What a workbook holds: its sheets, the one that is read, and its header's row (0 if it has none)."""

    sheets: tuple[Sheet, ...]
    chosen: str
    header_row: int = 0


@dataclass
class _Opened:
    """A workbook as the child process sends it; ``across`` are cells merged over columns (row, first, last)."""

    look: Look
    across: list[tuple[int, int, int]]
    rows: Iterator[Row] = field(default_factory=lambda: iter(()))


def look_at_sheets(file: SourceFile, sheet: str = "") -> Look:
    """The sheets of a workbook, which of them is read, and where its header stands.

    Raises ``sheet-missing``, ``spreadsheet-locked``, ``spreadsheet-broken``, ``spreadsheet-too-large``,
    ``spreadsheet-web-page``.
    """
    if _kind(file) != "workbook":
        return Look((), "")
    with _workbook(file, sheet) as opened:
        head = list(islice(opened.rows, HEAD_ROWS))
        header = _header_of(head, opened.across, Reading(format="excel"))
        return Look(opened.look.sheets, opened.look.chosen, header.row)


def read_excel(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All rows of the chosen sheet of each workbook; row numbers are the sheet's own.

    A workbook that cannot be opened ends the reading where it is the only one, and is rejected by name among others.
    """
    for file in files:
        try:
            kind = _kind(file)
            if not kind:
                reject(file.name, 0, "file-empty")
            elif kind == "text":
                yield from read_csv([file], how, reject)  # many programs name their text exports .xls
            else:
                yield from _read_file(file, how, reject)
        except MofangError as error:
            if not (how.several or len(files) > 1) or error.code == "sheet-missing":
                raise
            reject(file.name, 0, error.code, error.what)


def _read_file(file: SourceFile, how: Reading, reject: Reject) -> Iterator[Chunk]:
    with _workbook(file, how.sheet) as opened:
        how.sheets[file.name] = opened.look.chosen
        rows = _counted(opened.rows, how)
        if how.skip_lines:
            rows = (row for row in rows if row[0] > how.skip_lines)
        head = list(islice(rows, HEAD_ROWS))
        if not head:
            reject(file.name, 0, "file-empty", opened.look.chosen)
            return
        header = _header_of(head, opened.across, how)
        body = chain((row for row in head if row[0] > header.last), rows)
        yield from _chunks(body, header, file.name, how, reject)


def _counted(rows: Iterator[Row], how: Reading) -> Iterator[Row]:
    """The rows; empty ones between them are counted."""
    last = 0
    for number, cells in rows:
        for _ in range(number - last - 1 if last else 0):
            how.count_blank()
        last = number
        yield number, cells


# The header


@dataclass(frozen=True)
class _Header:
    """The names of the columns that are read by their places, the header's row, and the last row above the data."""

    names: dict[int, str]
    row: int
    last: int
    cells: tuple[Any, ...] = ()


def _header_of(head: Sequence[Row], across: Sequence[tuple[int, int, int]], how: Reading) -> _Header:
    """Find the header below titles and notes: the first row that is filled as rows of the table are."""
    if not head:
        return _Header({}, 0, 0)
    filled = [sum(cell is not None for cell in cells) for _, cells in head]
    usual = sorted(filled)[len(filled) * 3 // 4]
    enough = max(1, min(2, usual), int(ENOUGH_FILLED * usual + 0.5))
    start = next((place for place, count in enumerate(filled[:HEADER_WITHIN]) if count >= enough), 0)
    start = _fuller_header(head, filled, start)
    number, cells = head[start]
    body = [row for _, row in head[start + 1 :]]
    is_header = how.header == "yes" or (how.header == "auto" and _names_columns(cells, body))
    used = [place for place in range(len(cells)) if any(row[place] is not None for row in (cells, *body))]
    if not is_header:
        names = {place: f"column_{order}" for order, place in enumerate(used, 1)}
        return _Header(_given(names, how), 0, number - 1)
    above = head[start - 1] if start else (0, [])
    return _Header(_given(_unique(cells, used, _spread(above, across, number)), how), number, number, tuple(cells))


def _fuller_header(head: Sequence[Row], filled: Sequence[int], start: int) -> int:
    """A row of names soon after the first candidate that is far fuller: where most cells of the table are empty, notes
    above it are as full as its rows."""
    for place in range(start + 1, min(start + HEADER_AFTER, len(head))):
        if filled[place] >= max(1.5 * filled[start], ENOUGH_FILLED * max(filled)):
            cells, body = head[place][1], [row for _, row in head[place + 1 :]]
            return place if body and _names_columns(cells, body) else start
    return start


def _names_columns(cells: Sequence[Any], body: Sequence[Sequence[Any]]) -> bool:
    """True if a row holds texts that differ, and either numbers stand below some, or it reads as a header of CSV."""
    texts = [cell for cell in cells if cell is not None]
    if not texts or not all(isinstance(cell, str) for cell in texts) or max(map(len, texts)) > 100:
        return False
    typed = any(
        isinstance(cell, str) and sum(isinstance(row[place], int | float) for row in body) > len(body) / 2
        for place, cell in enumerate(cells)
    )
    if typed and len(set(texts)) == len(texts):
        return True
    first = ["" if cell is None else " ".join(str(cell).split()) for cell in cells]
    return looks_like_header([first, *(["" if cell is None else str(cell) for cell in row] for row in body)])


def _spread(above: Row, across: Sequence[tuple[int, int, int]], number: int) -> dict[int, str]:
    """What the row above the header says of each column, where cells merged over columns head several of them."""
    row, cells = above
    if row != number - 1:
        return {}
    return {
        place: str(cells[left])
        for top, left, right in across
        if top == row and 0 <= left < len(cells) and cells[left] is not None and right - left + 1 < len(cells)
        for place in range(left, min(right, len(cells) - 1) + 1)
    }


def _unique(cells: Sequence[Any], used: Sequence[int], above: dict[int, str]) -> dict[int, str]:
    """Names by place: those that come twice take what stands above them; what is still doubled is marked with a NUL."""
    plain = {place: " ".join(str(cells[place] or "").split()) or f"column_{place + 1}" for place in used}
    counts: dict[str, int] = {}
    for name in plain.values():
        counts[name] = counts.get(name, 0) + 1
    names: dict[int, str] = {}
    for place, name in plain.items():
        if counts[name] > 1 and place in above:
            name = f"{above[place]} {name}"
        names[place] = name if name not in names.values() else f"{name}\0{place + 1}"
    return names


def _given(names: dict[int, str], how: Reading) -> dict[int, str]:
    """The names that the person gave, in order, where some were."""
    return dict(zip(names, how.names, strict=False)) if how.names else names


# The rows


def _chunks(rows: Iterator[Row], header: _Header, file: str, how: Reading, reject: Reject) -> Iterator[Chunk]:
    numbers: list[int] = []
    taken: list[list[Any]] = []
    size = 0
    for number, cells in rows:
        if tuple(cells) == header.cells:  # a header that is repeated on every printed page
            how.count_blank()
            continue
        row = [cells[place] for place in header.names]
        longest = max((len(cell) for cell in row if isinstance(cell, str)), default=0)
        if longest > how.max_cell_chars:
            reject(file, number, "cell-too-large", f"> {how.max_cell_chars}")
            continue
        numbers.append(number)
        taken.append(row)
        size += 16 * len(row) + longest
        if len(taken) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk(file, numbers, _columns(header, taken))
            numbers, taken, size = [], [], 0
    yield Chunk(file, numbers, _columns(header, taken))


def _columns(header: _Header, rows: list[list[Any]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(header.names.values())}


# The child process


def _kind(file: SourceFile) -> str:
    """What a file named like a spreadsheet is: a workbook, a text, or nothing at all.

    Raises ``spreadsheet-too-large``, and ``spreadsheet-web-page`` for the tables of web pages that many programs name
    .xls.
    """
    if file.size_bytes > FILE_BYTES:
        raise MofangError("spreadsheet-too-large", file=file.name, most_mb=FILE_BYTES // 2**20)
    with file.open() as opened:
        first = opened.read(4096)
    if first.startswith((ZIPPED, COMPOUND)) or (b"\0" in first and not first.startswith((b"\xff\xfe", b"\xfe\xff"))):
        return "workbook"
    if first.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<"):
        raise MofangError("spreadsheet-web-page", file=file.name)
    if first and ending_of(file.base) != ".xls":
        return "workbook"  # only of .xls do programs make such a mess
    return "text" if first else ""


def _require_workbook(file: SourceFile) -> None:
    """Say in words what a file is that only bears a spreadsheet's name, or that is locked."""
    with file.open() as opened:
        start = opened.read(1 << 20)
        if start.startswith(COMPOUND):
            while ENCRYPTED not in start and (more := opened.read(1 << 20)):
                start = start[-64:] + more
            if ENCRYPTED in start:
                raise MofangError("spreadsheet-locked", file=file.name)
            return
    if not start.startswith(ZIPPED):
        raise MofangError("spreadsheet-broken", file=file.name, reason=say("neither xlsx, xls nor ods", "既不是 xlsx，也不是 xls 或 ods"))


@contextmanager
def _workbook(file: SourceFile, sheet: str) -> Generator[_Opened]:
    """Open a workbook in a child process; whatever becomes of the child, an error in words becomes of it here."""
    _require_workbook(file)
    packed = file.archive is not None or file.base.lower().endswith(".gz")
    path = "-" if packed else str(file.path)
    command = [sys.executable, "-P", workbook.__file__, path, sheet, "read"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            _feed(child.stdin, file if path == "-" else None)
            frames = _frames(child, file)
            about = next(frames)
            if "error" in about:
                raise _worded(about, file, sheet)
            sheets = tuple(Sheet(one["name"], one["rows"], one["columns"], one["visible"]) for one in about["sheets"])
            across = [(top, left, right) for top, left, right in about["across"]]
            rows = ((number, cells) for frame in frames for number, cells in frame)
            yield _Opened(Look(sheets, about["chosen"]), across, rows)
        finally:
            child.kill()


def _feed(stream: IO[bytes], file: SourceFile | None) -> None:
    """Hand the child what it cannot open by itself: a file inside an archive."""
    try:
        if file is not None:
            with file.open() as opened:
                while piece := opened.read(1 << 20):
                    stream.write(piece)
        stream.close()
    except BrokenPipeError:  # the child has ended; its frames say why
        return


def _frames(child: subprocess.Popen[bytes], file: SourceFile) -> Iterator[Any]:
    """The child's frames; if they stop before the last, the child met its limits, or its library stumbled."""
    assert child.stdout is not None
    while True:
        size = child.stdout.read(4)
        data = child.stdout.read(int.from_bytes(size, "big")) if len(size) == 4 else b""
        if not data or len(data) < int.from_bytes(size, "big"):
            if child.wait() == 1:
                raise MofangError("spreadsheet-broken", file=file.name, reason=say("unexpected content", "内容无法识别"))
            raise MofangError("spreadsheet-too-large", file=file.name, most_mb=FILE_BYTES // 2**20)
        frame = orjson.loads(data)
        if frame == {}:
            return
        yield frame


def _worded(about: dict[str, Any], file: SourceFile, sheet: str) -> MofangError:
    if about["error"] == "sheet-missing":
        known = about["sheets"]
        return MofangError("sheet-missing", file=file.name, sheet=sheet, sheets=", ".join(known), nearest=nearest(sheet, known))
    if about["error"] == "spreadsheet-too-large":
        return MofangError("spreadsheet-too-large", file=file.name, most_mb=FILE_BYTES // 2**20)
    if about["error"] == "spreadsheet-locked":
        return MofangError("spreadsheet-locked", file=file.name)
    return MofangError("spreadsheet-broken", file=file.name, reason=about.get("reason", "-"))
