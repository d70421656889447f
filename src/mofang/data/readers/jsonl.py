"""JSON lines, or one JSON array of objects, read object by object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import IO, Any, BinaryIO, cast

import orjson

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

LINE_CHARS = 64 * 2**20
PIECE_CHARS = 2**20
BLOCK_BYTES = 2**20
SPACES = " \t\r\n\ufeff"
BLANKS = SPACES.encode()

Object = tuple[int, Any, int]


def read_jsonl(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All objects of JSON-lines files or JSON arrays; the columns are the keys of the objects."""
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        encoding = how.encoding or detect_encoding(file)
        with open_text(file, encoding, how.start, how.end) as text:
            first = "" if how.start else _first_character(text)
        with open_text(file, encoding, how.start, how.end) as text:
            if first == "[":
                objects = _array(text, file.name, reject)
            elif encoding.lower() in ("utf-8", "utf-8-sig"):
                objects = _lines(_byte_lines(cast(BinaryIO, text.buffer)), file.name, how, reject)
            else:
                objects = _lines(_text_lines(text), file.name, how, reject)
            yield from _chunks(objects, file.name, how, reject)


def _first_character(text: IO[str]) -> str:
    while piece := text.read(4096):
        if stripped := piece.lstrip(SPACES):
            return stripped[0]
    return ""


def _byte_lines(data: BinaryIO) -> Iterator[bytes]:
    """The lines of UTF-8 text, undecoded, which is all that the parser wants; ends are as text files have them. Of an
    enormous line no more than its beginning is kept."""
    begun: list[bytes] = []
    size = 0
    while block := data.read(BLOCK_BYTES):
        if block.endswith(b"\r"):  # its \n may come next
            block += data.read(1)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = block.split(b"\n")
        if size < LINE_CHARS:
            begun.append(first)
            size += len(first)
        if lines:
            yield b"".join(begun)
            begun = [lines.pop()]
            size = len(begun[0])
            yield from lines
    if last := b"".join(begun):
        yield last


def _text_lines(text: IO[str]) -> Iterator[bytes | str]:
    while line := text.readline(LINE_CHARS):
        if len(line) >= LINE_CHARS and not line.endswith("\n"):
            while (rest := text.readline(LINE_CHARS)) and not rest.endswith("\n"):
                pass
        yield line


def _lines(lines: Iterator[Any], file: str, how: Reading, reject: Reject) -> Iterator[Object]:
    """Line number, value and size of each line."""
    number = 0
    loads = orjson.loads
    for line in lines:
        number += 1
        if len(line) >= LINE_CHARS:
            reject(file, number, "cell-too-large", f"> {LINE_CHARS}", _text(line[:10_000]))
            continue
        try:
            yield number, loads(line), len(line)
            continue
        except orjson.JSONDecodeError:
            pass
        text = _text(line)
        stripped = text.strip(SPACES)
        if not stripped:
            how.count_blank()
            continue
        try:
            yield number, _parse(stripped), len(line)
        except (ValueError, RecursionError) as error:
            reject(file, number, "not-json", str(error), text)
    how.lines[0] = number


def _text(line: bytes | str) -> str:
    return line if isinstance(line, str) else line.decode("utf-8", "surrogateescape")


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN, lone surrogates and numbers beyond 64 bits pass here
        return json.loads(text, parse_constant=lambda _name: None)


def _array(text: IO[str], file: str, reject: Reject) -> Iterator[Object]:
    """The elements of one JSON array, decoded piece by piece so that the array never stands in memory
    whole."""
    decoder = json.JSONDecoder(parse_constant=lambda _name: None)
    buffer, number, wanted = text.read(PIECE_CHARS).lstrip(SPACES)[1:], 0, PIECE_CHARS
    while True:
        buffer = buffer.lstrip(SPACES + ",")
        if buffer.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(buffer)
            if end == len(buffer):  # a number may go on in the next piece
                raise json.JSONDecodeError("cut", buffer, end)
        except (ValueError, RecursionError) as error:
            piece = text.read(wanted) if len(buffer) < LINE_CHARS else ""
            if not piece:
                if buffer:
                    reject(file, number + 1, "not-json", str(error), buffer[:1000])
                return
            buffer += piece
            wanted = min(2 * wanted, LINE_CHARS)
            continue
        number, wanted = number + 1, PIECE_CHARS
        yield number, value, end
        buffer = buffer[end:]


def _chunks(objects: Iterator[Object], file: str, how: Reading, reject: Reject) -> Iterator[Chunk]:
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    size = 0
    for number, value, chars in objects:
        if not isinstance(value, dict):
            reject(file, number, "not-an-object", type(value).__name__, str(value))
            continue
        if chars > how.max_cell_chars and any(
            isinstance(one, str) and len(one) > how.max_cell_chars for one in value.values()
        ):
            reject(file, number, "cell-too-large", f"> {how.max_cell_chars}")
            continue
        numbers.append(number)
        rows.append(value)
        size += chars
        if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield Chunk(file, numbers, columns_of_rows(rows))
            numbers, rows, size = [], [], 0
    yield Chunk(file, numbers, columns_of_rows(rows))


def columns_of_rows(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Objects as columns, named in the order in which the keys are met; a key that a row lacks is None there."""
    if not rows:
        return {}
    first = rows[0].keys()
    if all(row.keys() == first for row in rows):
        return {name: list(map(itemgetter(name), rows)) for name in first}
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}
