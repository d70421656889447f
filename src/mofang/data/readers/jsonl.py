"""JSON lines, or one JSON array of objects, read object by object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import orjson

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import detect_encoding, open_text

LINE_CHARS = 64 * 2**20
PIECE_CHARS = 2**20
SPACES = " \t\r\n\ufeff"


def read_jsonl(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All objects of JSON-lines files or JSON arrays; the columns are the keys of the objects."""
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        encoding = how.encoding or detect_encoding(file)
        with open_text(file, encoding) as text:
            first = _first_character(text)
        with open_text(file, encoding) as text:
            objects = (
                _array(text, file.name, reject) if first == "[" else _lines(text, file.name, how, reject)
            )
            yield from _chunks(objects, file.name, how, reject)


def _first_character(text: IO[str]) -> str:
    while piece := text.read(4096):
        if stripped := piece.lstrip(SPACES):
            return stripped[0]
    return ""


def _lines(text: IO[str], file: str, how: Reading, reject: Reject) -> Iterator[tuple[int, Any, int]]:
    """Line number, value and size in characters of each line."""
    number = 0
    while line := text.readline(LINE_CHARS):
        number += 1
        if len(line) >= LINE_CHARS and not line.endswith("\n"):
            while (rest := text.readline(LINE_CHARS)) and not rest.endswith("\n"):
                pass
            reject(file, number, "cell-too-large", f"> {LINE_CHARS}", line)
            continue
        stripped = line.strip(SPACES)
        if not stripped:
            how.count_blank()
            continue
        try:
            yield number, _parse(stripped), len(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reject(file, number, "not-json", str(error), line)


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN, lone surrogates and numbers beyond 64 bits pass here
        return json.loads(text, parse_constant=lambda _name: None)


def _array(text: IO[str], file: str, reject: Reject) -> Iterator[tuple[int, Any, int]]:
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
        except (json.JSONDecodeError, RecursionError) as error:
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


def _chunks(
    objects: Iterator[tuple[int, Any, int]], file: str, how: Reading, reject: Reject
) -> Iterator[Chunk]:
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
            yield Chunk(file, numbers, _columns(rows))
            numbers, rows, size = [], [], 0
    yield Chunk(file, numbers, _columns(rows))


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return {name: [row.get(name) for row in rows] for name in names}
