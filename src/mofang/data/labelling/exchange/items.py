"""What every exchange format comes to: a record's values, the answers to it, proposals for it; and JSON read in pieces."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from mofang.core.errors import MofangError
from mofang.data.sources.files import SourceFile

Reject = Callable[[str, int, str, str, str], None]
LINE_BYTES = 64 * 2**20
PIECE = 2**20
SPACES = " \t\r\n"
IMPORTED = "imported"


@dataclass
class Said:
    """One person's answer, not yet checked against a schema."""

    answer: Any
    person: str = ""
    at_us: int = 0
    ms: int = 0


@dataclass
class Proposed:
    """What a model proposed."""

    answer: Any
    score: float | None = None
    model: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class Item:
    """One task of a file: its record by id, by values or by the name of its picture, and what was said about it."""

    values: dict[str, str] = field(default_factory=dict)
    record: str = ""
    file: str = ""
    size: tuple[int, int] | None = None
    answers: list[Said] = field(default_factory=list)
    proposals: list[Proposed] = field(default_factory=list)
    task: int = -1
    final: Any = None
    place: int = 0


class Misfit(ValueError):
    """A record of a file that cannot be used, and why."""


def objects(file: SourceFile, reject: Reject) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines or of one JSON array, with their numbers from 1; never the whole file in memory."""
    with file.open() as opened:
        head = opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    with file.open() as opened:
        found = _array(opened, file.name) if head[:1] == b"[" else _lines(opened, file.name, reject)
        for number, value in found:
            if isinstance(value, dict):
                yield number, value
            else:
                reject(file.name, number, "not-an-object", "", str(value)[:200])


def _lines(opened: BinaryIO, name: str, reject: Reject) -> Iterator[tuple[int, Any]]:
    number = 0
    while line := opened.readline(LINE_BYTES):
        number += 1
        if len(line) >= LINE_BYTES and not line.endswith(b"\n"):
            while (rest := opened.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            reject(name, number, "cell-too-large", f"> {LINE_BYTES}", "")
            continue
        line = line.removeprefix(codecs.BOM_UTF8).strip() if number == 1 else line.strip()
        if line:
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                reject(name, number, "not-json", str(error), line[:200].decode("utf-8", "replace"))


def _array(opened: BinaryIO, name: str) -> Iterator[tuple[int, Any]]:
    """The elements of one array, decoded piece by piece; broken JSON ends in words, since nothing after it can be trusted."""
    decoder = json.JSONDecoder()
    text = codecs.getreader("utf-8-sig")(opened)
    try:
        buffer, number, wanted = text.read(PIECE).lstrip(SPACES)[1:], 0, PIECE
        while True:
            buffer = buffer.lstrip(SPACES + ",")
            if buffer.startswith("]"):
                return
            try:
                value, end = decoder.raw_decode(buffer)
                if end == len(buffer) and not isinstance(value, dict | list):
                    raise json.JSONDecodeError("cut", buffer, end)  # a number may go on in the next piece
            except json.JSONDecodeError as error:
                more = text.read(wanted) if len(buffer) < LINE_BYTES else ""
                if not more:
                    raise MofangError("label-file", file=name, detail=f"{number + 1}: {error.msg}") from None
                buffer, wanted = buffer + more, min(wanted * 2, LINE_BYTES)
                continue
            number += 1
            yield number, value
            buffer = buffer[end:]
    except (UnicodeDecodeError, RecursionError) as error:
        raise MofangError("label-file", file=name, detail=type(error).__name__) from None


def whole_json(file: SourceFile, most: int = 2**30) -> Any:
    """A JSON file that can only be read as a whole; larger ones are refused."""
    if file.size_bytes > most:
        raise MofangError("label-file-large", file=file.name, size=file.size_bytes, most=most)
    with file.open() as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise MofangError("label-file-large", file=file.name, size=len(data), most=most)
    try:
        return orjson.loads(data.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise MofangError("label-file", file=file.name, detail=str(error)) from None


def text_of(value: Any) -> str | None:
    """A value as a column holds it; None for lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    return None


def whole(number: Any) -> int:
    """A whole number, or a misfit."""
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number or abs(number) > 2**53:
        raise Misfit(f"not a number: {str(number)[:40]}")
    return int(number)


def real(number: Any) -> float:
    """A number, or a misfit."""
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number or abs(number) > 1e12:
        raise Misfit(f"not a number: {str(number)[:40]}")
    return float(number)


def items_of(files: list[SourceFile], item: Callable[[dict[str, Any]], Item], reject: Reject) -> Iterator[Item]:
    """The tasks of files of objects; an object that is none is set aside."""
    for file in files:
        for number, value in objects(file, reject):
            try:
                found = item(value)
            except Misfit as error:
                reject(file.name, number, "not-a-task", str(error), "")
                continue
            found.place = number
            yield found
