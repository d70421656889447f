"""Event logs: web access logs (common and combined), syslog, JSON lines, and key=value lines, as columns with a time."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.readers.jsonl import columns_of_rows
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

LINE_CHARS = 2**20
SAMPLE_LINES = 200
ENOUGH = 0.5
ACCESS = re.compile(
    r'(?P<host>\S{1,255}) \S{1,64} (?P<user>\S{1,255}) \[(?P<time>[^\]]{1,40})\] "(?P<request>(?:[^"\\]|\\.){0,65536})" '
    r'(?P<status>\d{3}|-) (?P<bytes>\d{1,15}|-)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.){0,65536})" "(?P<agent>(?:[^"\\]|\\.){0,65536})")?\s*'
)  # fmt: skip
OLD_SYSLOG = re.compile(
    r"(?:<(?P<priority>\d{1,3})>)?(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S{8,30}) (?P<host>\S{1,255}) "
    r"(?P<program>[^\s:\[]{1,128})(?:\[(?P<process>\d{1,10})\])?: ?(?P<message>.*)"
)
NEW_SYSLOG = re.compile(
    r"<(?P<priority>\d{1,3})>1 (?P<time>\S{1,40}) (?P<host>\S{1,255}) (?P<program>\S{1,48}) (?P<process>\S{1,128}) "
    r"(?P<event>\S{1,32}) (?P<data>-|(?:\[(?:[^\]\\]|\\.){0,65536}\])+)(?: (?P<message>.*))?"
)
PAIR = re.compile(r'([\w.\-@/]{1,128})=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?:\s+|$)')
ESCAPED, SIGNS = re.compile(r"\\(.)"), {"n": "\n", "t": "\t"}
TIMES = ("time", "ts", "timestamp", "@timestamp", "datetime", "date", "t", "when", "时间")
Row = dict[str, Any]


def access(line: str) -> Row | None:
    """A line of a web server's log (common or combined log format), or None."""
    found = ACCESS.fullmatch(line)
    if not found:
        return None
    row: Row = {name: None if value == "-" else value for name, value in found.groupdict().items()}
    words = (found["request"] or "").split(" ")
    row["method"], row["path"], row["protocol"] = (*words, None, None, None)[:3] if len(words) <= 3 else (None, None, None)
    try:
        row["time"] = datetime.datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z").isoformat()
    except ValueError:
        return None
    return row


def syslog(line: str) -> Row | None:
    """A line of syslog (RFC 5424, or RFC 3164 as it is met), or None."""
    found = NEW_SYSLOG.fullmatch(line) or OLD_SYSLOG.fullmatch(line)
    return {name: None if value == "-" else value for name, value in found.groupdict().items()} if found else None


def json_line(line: str) -> Row | None:
    """A line that is a JSON object, objects within it as ``outer.inner``; or None."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return flat(value) if isinstance(value, dict) else None


def logfmt(line: str) -> Row | None:
    """A line of key=value pairs and nothing else, or None."""
    row: Row = {}
    at = 0
    while at < len(line):
        found = PAIR.match(line, at)
        if not found:
            return None
        row[found[1]] = found[3] if found[2] is None else ESCAPED.sub(lambda one: SIGNS.get(one[1], one[1]), found[2])
        at = found.end()
    return row if len(row) > 1 else None


KINDS: dict[str, Callable[[str], Row | None]] = {"access": access, "json": json_line, "logfmt": logfmt, "syslog": syslog}


def flat(value: dict[str, Any], before: str = "", depth: int = 0) -> Row:
    """An object's values by their way from the outside; lists, and what lies deeper than eight, as JSON text."""
    row: Row = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and depth < 8:
            row |= flat(inner, f"{before}{name}.", depth + 1)
        else:
            row[before + name] = orjson.dumps(inner).decode() if isinstance(inner, dict | list) else inner
    return row


def read_logs(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every line that parses as a record, with a column ``time``; which kind of log a file is, its first lines decide.

    A line of another kind is set aside as ``not-a-log-line``: nothing is guessed into columns.
    """
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        encoding = how.encoding or detect_encoding(file)
        with open_text(file, encoding) as text:
            sample = [line for _ in range(SAMPLE_LINES) if (line := text.readline(LINE_CHARS))]
        kind = kind_of(sample)
        if not kind:
            reject(file.name, 0, "not-a-log")
            continue
        with open_text(file, encoding) as text:
            yield from _chunks(text, kind, file.name, how, reject)


def kind_of(lines: Sequence[str]) -> str:
    """Which kind of log these lines are, or nothing."""
    filled = [line.strip("\r\n\ufeff") for line in lines if line.strip()]
    fit = Counter({name: sum(parse(line) is not None for line in filled) for name, parse in KINDS.items()})
    kind, count = fit.most_common(1)[0]
    return kind if filled and count >= ENOUGH * len(filled) else ""


def _chunks(text: Any, kind: str, file: str, how: Reading, reject: Reject) -> Iterator[Chunk]:
    parse = KINDS[kind]
    numbers: list[int] = []
    rows: list[Row] = []
    number = size = 0
    while line := text.readline(LINE_CHARS):
        number += 1
        if len(line) >= min(LINE_CHARS, how.max_cell_chars) and len(line.rstrip("\r\n")) >= min(LINE_CHARS, how.max_cell_chars):
            reject(file, number, "cell-too-large", f"> {len(line) - 1}", line[:1000])
            while len(line) >= LINE_CHARS and line[-1] not in "\r\n":
                line = text.readline(LINE_CHARS)
            continue
        line = line.strip("\r\n\ufeff")
        if not line.strip():
            how.count_blank()
            continue
        row = parse(line)
        if row is None:
            reject(file, number, "not-a-log-line", kind, line)
            continue
        rows.append(with_time(row))
        numbers.append(number)
        size += len(line)
        if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk(file, numbers, columns_of_rows(rows))
            numbers, rows, size = [], [], 0
    if rows:
        yield Chunk(file, numbers, columns_of_rows(rows))


def with_time(row: Row) -> Row:
    """The row with its time first, in a column of that name; epochs as ISO 8601."""
    name = next((one for one in row if one.lower() in TIMES), None)
    if name is None:
        return {"time": None, **row}
    value = row[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and 1e8 < value < 1e19:
        seconds = value
        while seconds > 1e11:  # milliseconds, microseconds, nanoseconds
            seconds /= 1000
        value = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    return {"time": value, **{one: inner for one, inner in row.items() if one not in (name, "time")}}
