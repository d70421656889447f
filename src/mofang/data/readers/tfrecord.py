"""TFRecord: each record a ``tf.train.Example``, its frame checked by masked CRC-32C; TensorFlow is not needed.

Format: TensorFlow, "TFRecord and tf.train.Example"; check sums RFC 3720; messages Protocol Buffers wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject, needed
from mofang.data.readers.jsonl import columns_of_rows
from mofang.data.readers.packed import chunk_with_media, value_of_bytes
from mofang.data.sources.files import SourceFile

RECORD_BYTES = 256 * 2**20
EXACT = ".float64"
MASK = 0xA282EAD8


class Damaged(ValueError):
    """A message that is no Example."""


def read_tfrecord(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every Example as a record: features of bytes are texts where they decode (or media), lists of one value are that
    value. A record that is no Example is set aside; behind a broken frame nothing can be found again."""
    check = needed("google_crc32c").value
    for file in files:
        if file.size_bytes == 0:
            reject(file.name, 0, "file-empty")
            continue
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        size = 0
        with file.open() as opened:
            for number, data in _records(opened, file.name, check, reject):
                try:
                    rows.append(example(data))
                except (Damaged, UnicodeDecodeError, struct.error) as error:
                    reject(file.name, number, "not-an-example", str(error))
                    continue
                numbers.append(number)
                size += len(data)
                if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
                    yield chunk_with_media(file.name, numbers, columns_of_rows(rows))
                    numbers, rows, size = [], [], 0
        yield chunk_with_media(file.name, numbers, columns_of_rows(rows))


def _records(opened: BinaryIO, file: str, check: Callable[[bytes], int], reject: Reject) -> Iterator[tuple[int, bytes]]:
    number = 0
    while head := opened.read(12):
        number += 1
        if len(head) < 12 or _masked(check(head[:8])) != struct.unpack("<I", head[8:])[0]:
            reject(file, number, "frame-broken", "the length's check sum is wrong")
            return
        length = struct.unpack("<Q", head[:8])[0]
        if length > RECORD_BYTES:
            reject(file, number, "record-too-large", f"{length} > {RECORD_BYTES} bytes")
            return
        data = opened.read(length)
        foot = opened.read(4)
        if len(data) < length or len(foot) < 4:
            reject(file, number, "frame-broken", "the file ends within a record")
            return
        if _masked(check(data)) != struct.unpack("<I", foot)[0]:
            reject(file, number, "frame-broken", "the record's check sum is wrong")
            continue
        yield number, data


def _masked(sum: int) -> int:
    return ((sum >> 15 | sum << 17) + MASK) & 0xFFFFFFFF


def example(data: bytes) -> dict[str, Any]:
    """The features of an Example by name."""
    found: dict[str, Any] = {}
    for features in _fields(data, 1):
        for entry in _fields(features, 1):
            name = next(iter(_fields(entry, 1)), b"").decode()
            values = [value for feature in _fields(entry, 2) for value in _feature(feature)]
            found[name] = values[0] if len(values) == 1 else values or None
    for name in [one for one in found if one.endswith(EXACT)]:
        exact = found.pop(name)
        if isinstance(exact, bytes) and len(exact) == 8:
            found[name.removesuffix(EXACT)] = struct.unpack("<d", exact)[0]
    return {name: value_of_bytes(value) if isinstance(value, bytes) else value for name, value in found.items()}


def _feature(data: bytes) -> Iterator[Any]:
    """The values of a feature: bytes, 32-bit floats, or whole numbers."""
    for content in _fields(data, 1):
        yield from _fields(content, 1)
    for content in _fields(data, 2):
        for kind, value in _messages(content, 1):
            if kind == 2:
                yield from (one[0] for one in struct.iter_unpack("<f", value))
            elif kind == 5:
                yield struct.unpack("<f", value)[0]
    for content in _fields(data, 3):
        for kind, value in _messages(content, 1):
            at = 0
            while kind == 2 and at < len(value):
                number, at = _varint(value, at)
                yield _signed(number)
            if kind == 0:
                yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes, wanted: int) -> Iterator[bytes]:
    return (value for kind, value in _messages(data, wanted) if kind == 2)


def _messages(data: bytes, wanted: int) -> Iterator[tuple[int, Any]]:
    """(wire type, content) of each field with this number."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            length = 8 if kind == 1 else 4
            if kind == 2:
                length, at = _varint(data, at)
            if at + length > len(data):
                raise Damaged("a field ends behind the record")
            value, at = data[at : at + length], at + length
        else:
            raise Damaged(f"wire type {kind}")
        if tag >> 3 == wanted:
            yield kind, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise Damaged("a number without an end")
