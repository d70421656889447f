"""Workbooks of Excel 97, byte by byte: nothing installed writes them any more."""

from __future__ import annotations

import struct
from collections.abc import Sequence

FREE, END = 0xFFFFFFFF, 0xFFFFFFFE


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _begin(kind: int) -> bytes:
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 6))


def _cells(rows: Sequence[Sequence[str | float | None]]) -> bytes:
    cells = b""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if isinstance(value, str):
                text = value.encode("utf-16-le")
                cells += _record(0x204, struct.pack("<HHHHB", row, column, 0, len(text) // 2, 1) + text)
            elif value is not None:
                cells += _record(0x203, struct.pack("<HHHd", row, column, 0, value))
    return cells


def xls(rows: Sequence[Sequence[str | float | None]], *, locked: bool = False, sheet: str = "表") -> bytes:
    """A workbook of one sheet: records of numbers and texts in a compound file; locked ones only say that they are."""
    name = sheet.encode("utf-16-le")
    head = _begin(5) + (_record(0x2F, struct.pack("<HHH", 1, 1, 1) + bytes(48)) if locked else b"")
    stream = head + _record(0x85, struct.pack("<IBBBB", len(head) + 16 + len(name), 0, 0, len(sheet), 1) + name) + _record(0x0A, b"")
    stream += _begin(0x10) + _cells(rows) + _record(0x0A, b"")
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    sectors = len(stream) // 512
    table = [0xFFFFFFFD, END, *(place + 3 for place in range(sectors - 1)), END]
    table += [FREE] * (128 - len(table))
    directory = _entry("Root Entry", 5, END, 0, 1) + _entry("Workbook", 2, 2, len(stream)) + bytes(256)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, END, 0, END, 0) + struct.pack("<109I", 0, *[FREE] * 108)
    return header + struct.pack("<128I", *table) + directory + stream


def _entry(name: str, kind: int, start: int, size: int, child: int = FREE) -> bytes:
    raw = name.encode("utf-16-le")
    about = struct.pack("<HBBIII", len(raw) + 2, kind, 1, FREE, FREE, child)
    return raw.ljust(64, b"\0") + about + bytes(36) + struct.pack("<IQ", start, size)
