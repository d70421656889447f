"""Cutting a large text file at line ends, so that its stretches can be read side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from mofang.data.sources.files import SourceFile, ending_of

PIECE_BYTES = 4 * 2**20
LOOK_BYTES = 2**20
WIDE = ("utf-16", "utf-32", "utf_16", "utf_32")


def can_be_cut(file: SourceFile, encoding: str) -> bool:
    """True for a large plain file on the disk whose line ends are single bytes."""
    if file.archive is not None or file.size_bytes < 2 * PIECE_BYTES or encoding.lower().startswith(WIDE):
        return False
    with file.path.open("rb") as opened:
        return opened.read(2) != b"\x1f\x8b" and ending_of(file.base) != ".gz"


def stretches(file: SourceFile, quoted: bool) -> Iterator[tuple[int, int]]:
    """(start, end) of each stretch, in order, each after the first beginning behind a line end; the last ends with the
    file. With ``quoted`` no cut lies where an odd number of quotes came before, as it does within a cell of several lines.

    The file's size is that of the beginning: what is appended meanwhile is not read.
    """
    size = file.size_bytes
    start = counted = 0
    odd = False
    with file.path.open("rb") as opened:
        while start + 2 * PIECE_BYTES <= size:
            if quoted:
                odd ^= _odd(opened, counted, start + PIECE_BYTES)
                counted = start + PIECE_BYTES
            place = _line_end(opened, start + PIECE_BYTES, size, odd, quoted)
            if place >= size:
                break
            if quoted:
                odd ^= _odd(opened, counted, place)
                counted = place
            yield start, place
            start = place
    yield start, size


def _odd(opened: BinaryIO, start: int, end: int) -> bool:
    """Whether an odd number of quotes stands between two places."""
    count = 0
    opened.seek(start)
    while start < end and (data := opened.read(min(LOOK_BYTES, end - start))):
        count += data.count(b'"')
        start += len(data)
    return count % 2 == 1


def _line_end(opened: BinaryIO, start: int, size: int, odd: bool, quoted: bool) -> int:
    """The place behind the first line end from here on that lies outside quotes."""
    opened.seek(start)
    place = start
    while place < size and (data := opened.read(min(LOOK_BYTES, size - place))):
        last = 0
        while (found := data.find(b"\n", last)) >= 0:
            odd ^= quoted and data.count(b'"', last, found) % 2 == 1
            if not odd:
                return place + found + 1
            last = found + 1
        odd ^= quoted and data.count(b'"', last) % 2 == 1
        place += len(data)
    return size
