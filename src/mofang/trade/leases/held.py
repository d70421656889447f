"""Where the tensors of an ONNX file lie, so that they can be changed in place: a graph of gigabytes is never held in memory.

Reads the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) as far as ONNX's ModelProto,
GraphProto, NodeProto and TensorProto go; a tensor whose numbers are not written as raw bytes is told by ``NotRaw``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

GRAPH, NODE, INITIALIZER = 7, 1, 5  # of ModelProto; of GraphProto
INPUT, OPERATOR = 1, 4  # of NodeProto
DIMENSIONS, KIND, NAME, RAW = 1, 2, 8, 9  # of TensorProto
KINDS = {1: "<f4", 2: "|u1", 3: "|i1"}  # TensorProto.FLOAT, UINT8, INT8
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class NotRaw(Exception):
    """A tensor that could be marked has its numbers written one by one."""


@dataclass(frozen=True)
class Held:
    """A tensor's name, numpy's name of its kind, how many numbers, and the place of the first byte in the file."""

    name: str
    kind: str
    size: int
    begin: int


@dataclass(frozen=True)
class Operator:
    """An operator's name and inputs."""

    name: str
    inputs: tuple[str, ...]


def read_graph(path: Path) -> tuple[list[Held], list[Operator]]:
    """The tensors of float32 and whole bytes in an ONNX file, and its operators. Raises ``NotRaw``."""
    tensors, operators = list[Held](), list[Operator]()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for field, _, begin, end in _fields(data, 0, len(data)):
            if field != GRAPH:
                continue
            for inner, _, first, last in _fields(data, begin, end):
                if inner == NODE:
                    operators.append(_operator(data, first, last))
                elif inner == INITIALIZER:
                    tensors += _tensor(data, first, last)
    return tensors, operators


def _operator(data: mmap.mmap, begin: int, end: int) -> Operator:
    name, inputs = "", []
    for field, _, first, last in _fields(data, begin, end):
        if field == INPUT:
            inputs.append(data[first:last].decode())
        elif field == OPERATOR:
            name = data[first:last].decode()
    return Operator(name, tuple(inputs))


def _tensor(data: mmap.mmap, begin: int, end: int) -> list[Held]:
    """One tensor, or none where it is of another kind."""
    dimensions, kind, name, raw = list[int](), 0, "", -1
    for field, form, first, last in _fields(data, begin, end):
        if field == DIMENSIONS and form == VARINT:
            dimensions.append(first)
        elif field == DIMENSIONS:
            while first < last:
                one, first = _varint(data, first)
                dimensions.append(one)
        elif field == KIND:
            kind = first
        elif field == NAME:
            name = data[first:last].decode()
        elif field == RAW:
            raw = first
    if kind not in KINDS:
        return []
    if raw < 0:
        raise NotRaw(name)
    return [Held(name, KINDS[kind], prod(dimensions), raw)]


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, form, value, 0) of numbers and (number, form, begin, end) of everything else."""
    while place < end:
        tag, place = _varint(data, place)
        field, form = tag >> 3, tag & 7
        if form == VARINT:
            value, place = _varint(data, place)
            yield field, form, value, 0
        elif form == BYTES:
            size, place = _varint(data, place)
            yield field, form, place, place + size
            place += size
        elif form in (FIXED32, FIXED64):
            place += 4 if form == FIXED32 else 8
        else:
            raise NotRaw(f"field {field}")


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """A number, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
