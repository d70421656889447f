"""What an ONNX file asks for, read without any engine: weights in other files, foreign operators, endless loops.

An engine opens whatever path a graph names and loads whatever operator it knows; so a graph from elsewhere is read here
first. Only the structure of the protobuf is walked, weights are skipped; nothing is allocated by what a header promises.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from mofang.core.errors import MofangError

SIZE_MAX = 2**31 - 1  # protobuf's own limit
DEPTH_MAX = 32
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
DECODER = "decoder/"  # parts of a package that hold a decoder of ours
DECODER_DOMAINS = (*DOMAINS, "com.microsoft")
DECODER_OPERATORS = frozenset((
    "Add", "Gather", "GatherBlockQuantized", "GatherND", "Gelu", "GroupQueryAttention", "Identity", "LayerNormalization",
    "MatMul", "MatMulNBits", "Mul", "Relu", "Reshape", "Sigmoid", "SimplifiedLayerNormalization", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
))
ENDLESS = ("Loop", "Scan", "SequenceMap")  # the graph itself would say how long they run

# message: {field: the message inside}; ONNX IR, onnx.proto
INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "refused", 25: "refused"},  # training_info and functions: ours have none
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "opset": {},
    "tensor": {},
}
WORDS = {("node", 4): "operator", ("node", 7): "domain", ("opset", 1): "domain"}
EXTERNAL = (13, 14)  # of a tensor: where its bytes lie, and that they lie elsewhere
DATA = ".data"       # what the one file beside a graph that may hold weights is called, behind the graph's own name


def check_graph(path: Path, name: str, data: Path | None = None) -> None:
    """Refuse an ONNX file that could reach beyond itself: ``graph-external``, ``graph-custom``, ``graph-unreadable``.

    ``data`` is the file beside it that may hold its weights, called as the graph with ".data" behind; every tensor must lie
    inside it.
    """
    size = path.stat().st_size
    if not 0 < size <= SIZE_MAX:
        raise MofangError("graph-unreadable", name=name)
    beside = {} if data is None else {f"{name.rpartition('/')[2]}{DATA}": data.stat().st_size}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        _Walk(held, name, beside).message(0, size, "model", 0)


class _Walk:
    """One pass over the wire format."""

    def __init__(self, data: mmap.mmap, name: str, beside: dict[str, int]) -> None:
        self.data, self.name, self.beside = data, name, beside

    def message(self, at: int, end: int, kind: str, depth: int) -> None:
        """Walk one message between two positions."""
        if depth > DEPTH_MAX:
            raise self.unreadable()
        graphs, elsewhere = 0, dict[str, str]()
        while at < end:
            tag, at = self.varint(at, end)
            field, wire = tag >> 3, tag & 7
            if wire == 2:
                size, at = self.varint(at, end)
                if size > end - at:
                    raise self.unreadable()
                if kind == "tensor" and field == 13 and self.beside:
                    elsewhere |= [self.pair(at, at + size)]
                else:
                    self.field(kind, field, at, at + size, depth)
                graphs += kind == "model" and field == 7
                at += size
            elif wire == 0:
                value, at = self.varint(at, end)
                if kind == "tensor" and field == 14 and value and not self.beside:
                    raise MofangError("graph-external", name=self.name)
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise self.unreadable()
        if at != end or (kind == "model" and graphs != 1):
            raise self.unreadable()
        if elsewhere:
            self.inside(elsewhere)

    def field(self, kind: str, field: int, at: int, end: int, depth: int) -> None:
        """Look at one field that holds bytes."""
        if kind == "tensor" and field in EXTERNAL:
            raise MofangError("graph-external", name=self.name)
        word = WORDS.get((kind, field))
        if word:
            said = bytes(self.data[at:min(end, at + 256)]).decode("utf-8", "replace")
            decoder = self.name.startswith(DECODER)  # it may use ONNX Runtime's own operators, but only those that we write
            foreign = said not in (DECODER_DOMAINS if decoder else DOMAINS)
            unknown = decoder and word == "operator" and said not in DECODER_OPERATORS
            if (word == "domain" and foreign) or unknown or said in ENDLESS:
                raise MofangError("graph-custom", name=self.name, operator=said)
        inside = INSIDE[kind].get(field)
        if inside == "refused":
            raise MofangError("graph-custom", name=self.name, operator="functions")
        if inside:
            self.message(at, end, inside, depth + 1)

    def pair(self, at: int, end: int) -> tuple[str, str]:
        """A key and its value (StringStringEntryProto)."""
        said = {}
        while at < end:
            tag, at = self.varint(at, end)
            size, at = self.varint(at, end)
            if tag not in (0x0A, 0x12) or size > min(end - at, 4096):
                raise self.unreadable()
            said[tag] = bytes(self.data[at:at + size]).decode("utf-8", "replace")
            at += size
        return said.get(0x0A, ""), said.get(0x12, "")

    def inside(self, elsewhere: dict[str, str]) -> None:
        """Refuse a tensor that does not lie wholly inside the file beside the graph."""
        size = self.beside.get(elsewhere.get("location", ""), -1)
        begin, length = elsewhere.get("offset", "0"), elsewhere.get("length", "")
        plain = begin.isascii() and begin.isdigit() and length.isascii() and length.isdigit()
        if not plain or int(begin) + int(length) > size:
            raise MofangError("graph-external", name=self.name)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number and the position after it."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise self.unreadable()

    def unreadable(self) -> MofangError:
        """The error for a file that is no ONNX graph."""
        return MofangError("graph-unreadable", name=self.name)
