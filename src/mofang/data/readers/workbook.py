"""The child process that opens a spreadsheet: run as a script, under limits on memory and time.

A sheet of two cells can ask for half a terabyte, and the library that reads it ends the process then. So this process
ends and not the one that called it. It knows nothing of Mofang: arguments in, frames of JSON out (four bytes of length
before each): first the sheets, then rows, then an empty object as proof that nothing is missing.
"""

from __future__ import annotations

import datetime
import io
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

MEMORY_BYTES = 4 * 2**30
CPU_S = 600
FRAME_ROWS = 500
SAMPLE_ROWS = 200
LARGEST_INTEGER = 2**63 - 1


def limit() -> None:
    """Bound this process's memory and time where the system can; its core is never written."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    wanted = ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0))
    for what, value in wanted:
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):  # macOS refuses some of them
            continue


def send(value: Any) -> None:
    """One frame to the caller."""
    import orjson

    data = orjson.dumps(value)
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)


def plain(value: Any) -> Any:
    """A cell's value as JSON: whole numbers without a fraction, dates and times as ISO 8601 text, blanks as null."""
    if value == "":
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        if not value.is_integer():
            return value if value - value == 0 else None
        whole = int(Decimal(repr(value)))  # the digits that were written, not those of the nearest binary number
        return whole if abs(whole) < LARGEST_INTEGER else str(whole)
    if isinstance(value, datetime.datetime):
        rounded = value + datetime.timedelta(microseconds=500)
        rounded = rounded.replace(microsecond=rounded.microsecond // 1000 * 1000)
        if rounded.time() == datetime.time():
            return rounded.date().isoformat()
        return rounded.isoformat(timespec="milliseconds" if rounded.microsecond else "seconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return value


def likeness(rows: list[list[Any]], height: float) -> float:
    """About how many rows of a sheet look like a table: filled as most are, in at least two columns."""
    filled = [count for row in rows if (count := len(row) - row.count(""))]
    if not filled:
        return 0.0
    usual = Counter(filled).most_common(1)[0][0]
    if max(filled) < 2:
        return height / 1000
    return height * sum(count >= max(2, usual / 2) for count in filled) / len(rows)


def survey(workbook: Any) -> list[dict[str, Any]]:
    """Every worksheet with its size and how much of it looks like a table; hidden ones count for little."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    found = []
    for one in workbook.sheets_metadata:
        if one.typ == SheetTypeEnum.WorkSheet:
            sheet = workbook.get_sheet_by_name(one.name)
            visible = one.visible == SheetVisibleEnum.Visible
            score = likeness(sheet.to_python(nrows=SAMPLE_ROWS), sheet.height)
            found.append({"name": one.name, "rows": sheet.height, "columns": sheet.width, "visible": visible,
                          "score": score if visible else score / 1e6})
    return found


def rows_of(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The number of each row that holds anything, from 1, and its cells; what a merged cell says holds for all its
    rows."""
    start, end = sheet.start, sheet.end
    if start is None or end is None:
        return
    merged: dict[int, list[tuple[int, int]]] = {}
    for (top, left), (bottom, _) in sheet.merged_cell_ranges or ():
        if bottom > top and start[1] <= left <= end[1]:
            merged.setdefault(top, []).append((left - start[1], bottom))
    running: dict[int, tuple[int, Any]] = {}
    for number, row in enumerate(sheet.iter_rows()):
        cells = [plain(value) for value in row]
        if any(cell is not None for cell in cells):
            for column, (bottom, value) in list(running.items()):
                if number > bottom:
                    del running[column]
                elif cells[column] is None:
                    cells[column] = value
            yield number + 1, cells
        for column, bottom in merged.get(number, ()):
            running[column] = bottom, cells[column]


def opened(path: str) -> Any:
    """The workbook, told by its content; of an old one that fails the error of its own kind, which knows of passwords."""
    from python_calamine import CalamineError, CalamineWorkbook

    if path == "-":
        return CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
    try:
        with open(path, "rb") as file:
            return CalamineWorkbook.from_filelike(file)
    except CalamineError:
        if not path.lower().endswith(".xls"):
            raise
        return CalamineWorkbook.from_path(path)


def main(path: str, wanted: str, only_look: bool) -> None:
    """Send the sheets and, unless only a look is wanted, the rows of the wanted one (or the likeliest)."""
    import python_calamine

    try:
        workbook = opened(path)
        known = [one.name for one in workbook.sheets_metadata]
        if wanted and wanted not in known:
            send({"error": "sheet-missing", "sheets": known})
            return
        sheets = survey(workbook)
        chosen = wanted or max(sheets, key=lambda one: one["score"], default={"name": ""})["name"]
        sheet = workbook.get_sheet_by_name(chosen) if chosen else None
    except MemoryError:
        send({"error": "spreadsheet-too-large"})
        return
    except python_calamine.PasswordError:
        send({"error": "spreadsheet-locked"})
        return
    except python_calamine.CalamineError as error:
        locked = "password" in str(error).lower() or "encrypted" in str(error).lower()
        send({"error": "spreadsheet-locked" if locked else "spreadsheet-broken", "reason": str(error)})
        return
    start = (sheet.start if sheet else None) or (0, 0)
    across = [[top + 1, left - start[1], right - start[1]] for (top, left), (_, right) in
              (sheet.merged_cell_ranges if sheet else None) or () if right > left and top < start[0] + 100]
    send({"sheets": sheets, "chosen": chosen, "across": across})
    waiting: list[Any] = []
    for numbered in rows_of(sheet) if sheet is not None and not only_look else ():
        waiting.append(numbered)
        if len(waiting) >= FRAME_ROWS:
            send(waiting)
            waiting = []
    send(waiting)
    send({})


if __name__ == "__main__":
    limit()
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "look")
