"""A mark of its own in every leased copy of a model: tiny keyed changes of all large tensors, found again beside the original.

Spread spectrum (Cox et al. 1997): each number of a tensor moves by a fraction of the tensor's standard deviation, up or down
as a keyed stream says. One number tells nothing; over thousands the sum over (copy - original) times the stream stands out by
many standard deviations, for this lease's key and no other. Whether a copy of the copy still shows it depends on how many
numbers there are and on what was done to them; docs/lease.md has what was measured. The largest strength is taken at which
every canonical request keeps its answer and stays within the tolerance of its engine.

Of weights that are held as whole bytes one in 64 moves by one step. Of weights in blocks, which have few steps, the blocks'
scales are moved instead. The sines and cosines of positions stay, since everybody can compute them.
"""

from __future__ import annotations

import hashlib
import hmac
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.predictor import Predictor
from mofang.trade.leases.held import NotRaw, Operator, read_graph
from mofang.trade.leases.opening import open_model

if TYPE_CHECKING:
    from onnx import ModelProto

    from mofang.engine.generation.opened import Generator

STRENGTHS = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)  # of a tensor's standard deviation
FLOATS = "<f4"
STEP = 1 << 20      # numbers that are moved at a time; a multiple of 64
LEAST = 64          # numbers in a tensor that is marked
SPARSE = 64         # of whole bytes one in so many moves, by one step
ALIKE = 0.9         # correlation from which two tensors of other names are taken for the same
SURE = 6.0          # standard deviations: one in a thousand million copies that nobody marked looks so
GRAPHS = ("graph/model.onnx", "graph/model.int8.onnx", "graph/model.dynamic.onnx", "decoder/decoder.onnx")
BLOCKED = {"MatMulNBits": 1, "GatherBlockQuantized": 0}  # operators of weights in blocks, and which input holds their codes
NATS = 0.02         # by so much a token's log-probability may change; of weights in blocks by what another processor may change
TURNS = ("cosines", "sines")


def pattern(key: bytes, name: str, size: int) -> Array:
    """+1 or -1 for every number of a tensor, by key and name; the same on every machine."""
    return np.concatenate([signs for _, signs in patterns(key, name, size)])


def patterns(key: bytes, name: str, size: int) -> Iterator[tuple[int, Array]]:
    """The same in parts, each with its beginning."""
    seed = hmac.new(key, name.encode(), hashlib.sha256).digest()
    stream = np.random.Philox(key=int.from_bytes(seed[:16], "big"))
    for begin in range(0, size, STEP):
        count = min(STEP, size - begin)
        bits = np.unpackbits(stream.random_raw(-(-count // 64)).astype("<u8").view(np.uint8))[:count]
        yield begin, bits.astype(np.int8) * 2 - 1


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
    """Write a marked copy of an ONNX graph; how many numbers moved. The copy is changed in place, some numbers at a time."""
    shutil.copyfile(source, place)
    try:
        held, operators = read_graph(place)
    except NotRaw:
        _write_raw(place)
        held, operators = read_graph(place)
    still = unmarked(operators)
    moved = 0
    for one in held:
        if one.size < LEAST or one.name in still:
            continue
        values = np.memmap(place, one.kind, "r+", one.begin, (one.size,))
        moved += _shift(values, key, one.name, strength) if one.kind == FLOATS else _step(values, key, one.name)
        values.flush()
    return moved


def _shift(values: Array, key: bytes, name: str, strength: float) -> int:
    """Move float32 numbers up or down; zeros stay, since what is left out stays left out."""
    moved, width = 0, spread(values)
    if not width:
        return 0
    for begin, signs in patterns(key, name, values.size):
        part = values[begin : begin + len(signs)]
        shift = signs.astype(np.float32) * np.float32(strength * width)
        shift[part == 0] = 0
        changed = part + shift
        moved += int((changed != part).sum())
        values[begin : begin + len(signs)] = changed
    return moved


def _step(values: Array, key: bytes, name: str) -> int:
    """Move one whole byte in 64 by one step."""
    bounds = np.iinfo(values.dtype)
    changed = np.clip(values.astype(np.int16) + sparse(key, name, values.size), bounds.min, bounds.max).astype(values.dtype)
    moved = int((changed != values).sum())
    values[:] = changed
    return moved


def spread(values: Array) -> float:
    """The standard deviation of numbers, some at a time."""
    count, total, power = values.size, 0.0, 0.0
    for begin in range(0, count, STEP):
        part = values[begin : begin + STEP].astype(np.float64)
        total, power = total + float(part.sum()), power + float(part @ part)
    return float(max(0.0, power / count - (total / count) ** 2) ** 0.5)


def _write_raw(path: Path) -> None:
    """Write a small graph's tensors as raw bytes."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    path.write_bytes(model.SerializeToString(deterministic=True))


def unmarked(operators: list[Operator]) -> set[str]:
    """The tensors of a graph that stay as they are: codes and zero points of weights in blocks, and tables of turns."""
    found = set(TURNS)
    for one in operators:
        if one.name in BLOCKED:
            found |= {one.inputs[BLOCKED[one.name]], *one.inputs[3:4]}
    return found


def tensors(model: ModelProto) -> Iterator[tuple[str, Array]]:
    """The tensors of a graph that can carry a mark."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size >= LEAST and values.dtype in (np.float32, np.int8, np.uint8):
            yield tensor.name, values


def score(found: Mapping[str, Array], original: Mapping[str, Array], key: bytes) -> float:
    """By how many standard deviations a copy carries the mark of this key; about 0 (±3) where it does not.

    Tensors are compared by name and shape, else with the one that is nearly the same; one that is not in both says nothing.
    """
    total = power = 0.0
    for name, ours in original.items():
        theirs = _counterpart(found, name, ours)
        if theirs is None:
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


def _counterpart(found: Mapping[str, Array], name: str, ours: Array) -> Array | None:
    """The tensor of a copy that was this one: of the same name, or under another name and nearly equal."""
    theirs = found.get(name)
    if theirs is not None and theirs.shape == ours.shape and theirs.dtype == ours.dtype:
        return theirs
    if ours.dtype != np.float32:
        return None
    for one in found.values():
        for turned in (one, one.T) if one.ndim == 2 else (one,):
            if turned.shape == ours.shape and turned.dtype == np.float32 and _alike(turned, ours) > ALIKE:
                return turned
    return None


def _alike(one: Array, other: Array) -> float:
    """The correlation of two tensors, of at most 100,000 of their numbers."""
    step = -(-one.size // 100_000)
    a, b = (each.ravel()[::step].astype(np.float64) for each in (one, other))
    widths = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / widths if widths else 0.0


def dequantised(model: ModelProto) -> Iterator[tuple[str, Array]]:
    """The weights that a graph holds as whole bytes with a scale, as they are multiplied: by the names of ONNX Runtime's
    quantiser (``W_quantized``, ``W_scale``, ``W_zero_point``) and behind DequantizeLinear."""
    from onnx import numpy_helper

    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    named = [(name, name.removesuffix("_quantized") + "_scale", name.removesuffix("_quantized") + "_zero_point", -1)
             for name in held if name.endswith("_quantized")]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in held:
            axis = next((int(one.i) for one in node.attribute if one.name == "axis"), 1)
            named.append((node.input[0], node.input[1], node.input[2] if len(node.input) > 2 else "", axis))
    for name, scale, zero, axis in named:
        values, width = held[name], held.get(scale)
        if width is None or values.size < LEAST:
            continue
        shift = held.get(zero, np.zeros(1, values.dtype))
        if width.size > 1:
            shape = [1] * values.ndim
            shape[axis] = width.size
            if values.shape[axis] != width.size:
                continue
            width, shift = width.reshape(shape), shift.reshape(shape) if shift.size > 1 else shift
        yield name.removesuffix("_quantized"), ((values.astype(np.float32) - shift.astype(np.float32)) * width).astype(np.float32)


def graph_tensors(data: bytes) -> dict[str, Array]:
    """The tensors of an ONNX graph from anywhere. Raises ``lease-mark-unreadable``."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
        return {**dict(dequantised(model)), **dict(tensors(model))}
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


def said(folder: Path, lines: list[dict[str, Any]]) -> list[Any]:
    """What the package in a folder answers to its canonical requests, without numbers; opened as a lessee opens it. Of a
    generator see ``spoken``.

    Raises what opening raises: ``parity-mismatch`` where an answer leaves its tolerance, ``engine-none`` …
    """
    from mofang.engine.replay import replay

    model = open_model(folder)
    if not isinstance(model, Predictor):
        return spoken(model, lines)
    replay(model, lines)
    return [worded(one) for one in model.predict([record for line in lines for record in model.parse(line["request"])[0]])]


def spoken(model: Generator, lines: list[dict[str, Any]]) -> list[Any]:
    """For each canonical request (likeliest tokens, log-probabilities of the answer's) along the answer that was written down."""
    from mofang.engine.generation.opened import forced_logits
    from mofang.engine.generation.sampling import tell

    found = []
    for line in lines:
        prompt, ids = model.prompt(model.parse(line["request"])[0][0]), line["ids"]
        logits = forced_logits(model.decoder, prompt, ids) if ids else np.zeros((0, 1), np.float32)
        told = [tell(row, token, 0).logprob for row, token in zip(logits, ids, strict=True)]
        found.append((logits.argmax(axis=1).tolist(), told))
    return found


def near(found: list[Any], wanted: list[Any], precision: str) -> bool:
    """Whether a generator takes the same tokens, each with nearly the same probability."""
    from mofang.engine.generation.opened import TOLERANCES

    most = max(NATS, TOLERANCES[precision])
    return all(one[0] == other[0] and np.abs(np.subtract(one[1], other[1])).max(initial=0.0) <= most
               for one, other in zip(found, wanted, strict=True))


def worded(answer: Any) -> Any:
    """An answer without its fractions, which may differ within a tolerance."""
    if isinstance(answer, dict):
        return {name: worded(one) for name, one in answer.items()}
    return [worded(one) for one in answer] if isinstance(answer, list) else None if isinstance(answer, float) else answer


def keeps(folder: Path, lines: list[dict[str, Any]], wanted: list[Any]) -> bool:
    """Whether the package in a folder still answers every canonical request within its tolerance, and as wanted."""
    try:
        return said(folder, lines) == wanted
    except MofangError as error:
        if error.code == "parity-mismatch":
            return False
        raise
