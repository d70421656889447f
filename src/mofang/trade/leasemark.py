"""A mark of its own in every leased copy of a model: tiny keyed changes of all large tensors, found again beside the original.

Spread spectrum (Cox et al. 1997): each number of a tensor moves by a fraction of the tensor's standard deviation, up or down
as a keyed stream says. One number tells nothing; over thousands the sum over (copy - original) times the stream stands out by
many standard deviations, for this lease's key and no other. Whether a copy of the copy still shows it depends on how many
numbers there are and on what was done to them; docs/lease.md has what was measured. The largest strength is taken at which
every canonical request keeps its label and stays within the tolerance of its engine.
"""

from __future__ import annotations

import hashlib
import hmac
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array

if TYPE_CHECKING:
    from onnx import ModelProto

STRENGTHS = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)  # of a tensor's standard deviation
LEAST = 64          # numbers in a tensor that is marked
SPARSE = 64         # of whole bytes one in so many moves, by one step
SURE = 6.0          # standard deviations: one in a thousand million copies that nobody marked looks so
GRAPHS = ("model.onnx", "model.int8.onnx", "model.dynamic.onnx")


def pattern(key: bytes, name: str, size: int) -> Array:
    """+1 or -1 for every number of a tensor, by key and name; the same on every machine."""
    seed = hmac.new(key, name.encode(), hashlib.sha256).digest()
    words = np.random.Philox(key=int.from_bytes(seed[:16], "big")).random_raw(-(-size // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[:size]
    return bits.astype(np.int8) * 2 - 1


def sparse(key: bytes, name: str, size: int) -> Array:
    """The same with zeros at all but one in 64 places."""
    seed = hmac.new(key, b"places\0" + name.encode(), hashlib.sha256).digest()
    count = size // SPARSE
    words = np.random.Philox(key=int.from_bytes(seed[:16], "big")).random_raw(count)
    places = np.arange(count) * SPARSE + (words % SPARSE).astype(np.int64)
    found = np.zeros(size, np.int8)
    found[places] = pattern(key, name, size)[places]
    return found


def mark(source: Path, place: Path, key: bytes, strength: float) -> int:
    """Write a marked copy of an ONNX graph; how many numbers moved."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    moved = 0
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST:
            continue
        if values.dtype == np.float32 and (width := float(values.std())) > 0:
            shift = pattern(key, tensor.name, values.size).reshape(values.shape).astype(np.float32) * np.float32(strength * width)
            shift[values == 0] = 0  # what is left out stays left out
            changed = values + shift
        elif values.dtype in (np.int8, np.uint8):
            bounds = np.iinfo(values.dtype)
            step = sparse(key, tensor.name, values.size).reshape(values.shape).astype(np.int16)
            changed = np.clip(values.astype(np.int16) + step, bounds.min, bounds.max).astype(values.dtype)
        else:
            continue
        moved += int((changed != values).sum())
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    place.write_bytes(model.SerializeToString(deterministic=True))
    return moved


def tensors(model: ModelProto) -> Iterator[tuple[str, Array]]:
    """The tensors of a graph that can carry a mark."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size >= LEAST and values.dtype in (np.float32, np.int8, np.uint8):
            yield tensor.name, values


def score(found: Mapping[str, Array], original: Mapping[str, Array], key: bytes) -> float:
    """By how many standard deviations a copy carries the mark of this key; about 0 (±3) where it does not.

    Tensors are compared by name and shape; one that is not in both says nothing.
    """
    total = power = 0.0
    for name, ours in original.items():
        theirs = found.get(name)
        if theirs is None or theirs.shape != ours.shape:
            continue
        width = float(ours.std()) if ours.dtype == np.float32 else 1.0
        if not width:
            continue
        apart = ((theirs.astype(np.float64) - ours.astype(np.float64)) / width).ravel()
        apart = np.nan_to_num(apart, nan=0.0, posinf=0.0, neginf=0.0)
        most = float(np.quantile(np.abs(apart), 0.99))
        apart = np.clip(apart, -most, most) if most else apart
        signs = pattern(key, name, apart.size) if ours.dtype == np.float32 else sparse(key, name, apart.size)
        total += float(apart @ signs)
        power += float((apart * (signs != 0)) @ apart)
    return total / power**0.5 if power else 0.0


def graph_tensors(data: bytes) -> dict[str, Array]:
    """The tensors of an ONNX graph from anywhere. Raises ``lease-mark-unreadable``."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
        return dict(tensors(model))
    except (DecodeError, ValueError, TypeError) as error:
        raise MofangError("lease-mark-unreadable", reason=str(error)[:100]) from None


def suspects(path: Path) -> dict[str, bytes]:
    """The graphs in a file or folder that somebody found: an ONNX file, a package's folder, or a package's file."""
    if path.is_dir():
        return {one.name: one.read_bytes() for one in sorted(path.rglob("*.onnx"))}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if name.endswith(".onnx")}
    if not path.is_file():
        raise MofangError("lease-mark-unreadable", reason=str(path))
    return {path.name: path.read_bytes()}


def keeps_labels(folder: Path, lines: list[dict[str, Any]]) -> bool:
    """Whether the package in a folder answers every canonical request within its tolerance and with the label written down."""
    from mofang.engine.predictor import Predictor
    from mofang.engine.replay import replay

    try:
        predictor = Predictor(folder)
        replay(predictor, lines)
    except MofangError as error:
        if error.code == "parity-mismatch":
            return False
        raise
    records = [record for line in lines for record in predictor.parse(line["request"])[0]]
    said = [one["answer"].get("label") for one in lines]
    return [one.get("label") for one in predictor.predict(records)] == said
