"""Requests and answers as named tensors, as the Open Inference Protocol (v2) knows them, over HTTP and gRPC alike.

Each column that a request gives is one input with a row for each record: ``BYTES`` for texts, categories and the bytes of
images, a number type for numbers (NaN where one is missing). Each property of an answer is one output: words are
``BYTES``, numbers ``FP64``, the scores of K labels ``FP32`` [N, K] with the labels in the tensor's parameters, a vector
``FP32`` [N, D]; whatever else is JSON in ``BYTES``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest

NUMPY = {"BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2",
         "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
DATATYPES = (*NUMPY, "BYTES")
INPUTS = {"text": "BYTES", "category": "BYTES", "image": "BYTES", "number": "FP64"}
NONE = -1  # an integer that an answer does not have


@dataclass(slots=True)
class Tensor:
    """One named tensor; ``data`` is flat: Python values, or for BYTES str or bytes."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    parameters: dict[str, Any] = field(default_factory=dict)


def wrong(at: str, reason: str) -> MofangError:
    """A tensor that cannot be read, with the place and the reason."""
    return MofangError("tensor-wrong", at=at, reason=reason)


def size_of(shape: Sequence[Any], at: str) -> int:
    """How many values a shape holds."""
    count = 1
    for axis in shape:
        if isinstance(axis, bool) or not isinstance(axis, int) or axis < 0 or axis > 1 << 31:
            raise wrong(at, "its shape must hold whole numbers from 0 on")
        count *= axis
    return count


def split_bytes(data: bytes, at: str) -> list[bytes]:
    """The elements of a binary BYTES tensor: four bytes of length (little-endian), then so many bytes, each."""
    found, place = [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        if place + 4 > len(data) or end > len(data):
            raise wrong(at, "its bytes end in the middle of an element")
        found.append(data[place + 4 : end])
        place = end
    return found


def join_bytes(elements: Sequence[str]) -> bytes:
    """The same, written."""
    parts: list[bytes] = []
    for element in elements:
        data = element.encode()
        parts += (len(data).to_bytes(4, "little"), data)
    return b"".join(parts)


def from_binary(name: str, datatype: str, shape: list[int], data: bytes, at: str) -> Tensor:
    """A tensor out of its bytes (little-endian, C order)."""
    count = size_of(shape, at)
    if datatype == "BYTES":
        values: list[Any] = split_bytes(data, at)
    elif datatype in NUMPY:
        kind = np.dtype(NUMPY[datatype])
        if len(data) != count * kind.itemsize:
            raise wrong(at, f"{count} values of {datatype} take {count * kind.itemsize} bytes, not {len(data)}")
        values = np.frombuffer(data, kind).tolist()
    else:
        raise wrong(at, f"{datatype!r} is none of {', '.join(DATATYPES)}")
    return checked(Tensor(name, datatype, shape, values), at)


def to_binary(tensor: Tensor) -> bytes:
    """The bytes of a tensor."""
    if tensor.datatype == "BYTES":
        return join_bytes(tensor.data)
    return np.array(tensor.data, NUMPY[tensor.datatype]).tobytes()


def checked(tensor: Tensor, at: str) -> Tensor:
    """The tensor, if it holds as many values as its shape says."""
    if tensor.datatype not in DATATYPES:
        raise wrong(at, f"{tensor.datatype!r} is none of {', '.join(DATATYPES)}")
    count = size_of(tensor.shape, at)
    if len(tensor.data) != count:
        raise wrong(at, f"its shape says {count} values, and it holds {len(tensor.data)}")
    return tensor


def body_of(signature: Mapping[str, Any], tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The tensors as the plain JSON body that says the same; the task then reads and checks it like any other."""
    roles = {each["name"]: each["role"] for each in signature["inputs"]}
    if len(roles) == 1:
        (only,) = roles
        roles.setdefault(roles[only], roles[only])  # a model with one input takes its role as the name too
    rows = {_rows(tensor) for tensor in tensors}
    if len(rows) != 1:
        raise wrong("inputs", "there must be at least one, and all with as many rows")
    columns = {}
    for tensor in tensors:
        role = roles.get(tensor.name)
        if role is None:
            raise MofangError("input-unknown", at=f"inputs: {tensor.name}", nearest=nearest(tensor.name, sorted(roles)),
                              names=", ".join(sorted(roles)))
        columns[tensor.name] = [_plain(value, role, tensor.name) for value in tensor.data]
    return {"records": [{name: values[row] for name, values in columns.items()} for row in range(rows.pop())]}


def _rows(tensor: Tensor) -> int:
    if not tensor.shape or len(tensor.data) != tensor.shape[0]:
        raise wrong(tensor.name, "its shape must be [N] or [N, 1]: one value for each record")
    return tensor.shape[0]


def _plain(value: Any, role: str, at: str) -> Any:
    """A tensor's value as plain JSON writes it."""
    if isinstance(value, bytes):
        if role == "image":
            return base64.b64encode(value).decode()
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise wrong(at, f"its bytes are no UTF-8: {error}") from error
    if isinstance(value, float) and value != value:
        return None
    return value


def inputs_of(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A model's inputs as metadata: name, datatype, shape."""
    return [{"name": each["name"], "datatype": INPUTS[each["role"]], "shape": [-1]} for each in signature["inputs"]]


def outputs_of(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A model's outputs as metadata, from the JSON Schema of its answers."""
    return [{"name": name, **_form(about)} for name, about in schema.get("properties", {}).items()]


def _form(about: Mapping[str, Any]) -> dict[str, Any]:
    kinds = about.get("type", "string" if "enum" in about else "any")
    kind = next((one for one in kinds if one != "null"), "any") if isinstance(kinds, list) else kinds
    if kind == "object":
        below = about.get("properties", {})
        if below and all(one.get("type") == "number" for one in below.values()):
            return {"datatype": "FP32", "shape": [-1, len(below)], "parameters": {"labels": orjson.dumps(list(below)).decode()}}
    if kind == "array" and about.get("items", {}).get("type") == "number":
        return {"datatype": "FP32", "shape": [-1, -1]}
    return {"datatype": {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}.get(kind, "BYTES"), "shape": [-1]}


def tensors_of(schema: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """The answers as tensors, a row each."""
    return [_column(about, [answer.get(about["name"]) for answer in answers]) for about in outputs_of(schema)]


def _column(about: Mapping[str, Any], values: list[Any]) -> Tensor:
    name, datatype, parameters = about["name"], about["datatype"], about.get("parameters", {})
    if len(about["shape"]) == 2:
        if parameters:
            labels = orjson.loads(parameters["labels"])
            values = [[row[label] for label in labels] for row in values]
        width = len(values[0]) if values else 0
        return Tensor(name, datatype, [len(values), width], [one for row in values for one in row], dict(parameters))
    if datatype == "BYTES":
        data: list[Any] = [one if isinstance(one, str) else orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY).decode()
                           for one in values]
    else:
        data = [(NONE if datatype == "INT64" else float("nan")) if one is None else one for one in values]
    return Tensor(name, datatype, [len(data)], data)
