"""Lighter forms of a graph, made at packaging and nowhere else: int8 by two ways, each a plain ONNX file.

``model.int8.onnx`` has its scales from calibration (NNCF, post-training, operators that OpenVINO multiplies in bytes);
``model.dynamic.onnx`` scales activations at each call and needs none (ONNX Runtime). Calibration records are rows of the
training part or canonical requests; they stay here, only scales travel. A graph with few products gains nothing and is
left as it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mofang.core.run import Run
from mofang.engine.arrays import Arrays
from mofang.engine.runtimes import missing_package
from mofang.engine.runtimes.onnx import OnnxRuntime
from mofang.engine.runtimes.openvino import OpenVinoRuntime

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCTS = ("MatMul", "Gemm", "Conv")
WEIGHTS_MIN = 1_000_000    # weights in products, from which int8 can win more than its keep
CALIBRATION = 32           # records
CALIBRATED = "calibration.npz"
TRANSFORMER = ("Softmax", "MatMul")


def product_weights(path: Path) -> int:
    """How many weights of an ONNX graph are multiplied with a whole batch: those of MatMul, Gemm and Conv."""
    import onnx

    graph = onnx.load(str(path)).graph
    sizes = {one.name: _count(one.dims) for one in graph.initializer}
    return sum(sizes.get(name, 0) for node in graph.node if node.op_type in PRODUCTS for name in node.input)


@contextlib.contextmanager
def quantising(run: Run, folder: Path, calibration: Sequence[Arrays]) -> Iterator[dict[str, str]]:
    """Write the int8 forms of ``folder/model.onnx`` beside it while the block goes on; behind it the dictionary says by file why
    one could not be made.

    NNCF calibrates in a process of its own, on one core, so the block may use the others for what is not timed.
    """
    source, reasons = folder / OnnxRuntime.file, dict[str, str]()
    held = folder / CALIBRATED
    arrays: Any = {f"{number}/{name}": array for number, one in enumerate(calibration) for name, array in one.items()}
    np.savez(held, **arrays)
    place = folder / OpenVinoRuntime.files["int8"]
    words = [sys.executable, "-P", "-m", "mofang.serve.quantise", str(source), str(place), str(held)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    try:
        if reason := _dynamic(source, folder / OnnxRuntime.files["int8"]):
            reasons[OnnxRuntime.files["int8"]] = reason
        yield reasons
        with run.progress("Making int8 forms", "生成 int8 版本"):
            said = child.communicate()[0].decode("utf-8", "replace").strip()
        if child.returncode or said:
            reasons[place.name] = (said.splitlines() or [f"its process ended with {child.returncode}"])[-1]
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
        held.unlink()


def _dynamic(source: Path, place: Path, calibration: Sequence[Arrays] = ()) -> str:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        try:
            quantize_dynamic(str(source), str(place), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
                             per_channel=True)
        except (RuntimeError, ValueError, TypeError) as error:
            return _said(error)
    return ""


def _calibrated(source: Path, place: Path, calibration: Sequence[Arrays]) -> str:
    if reason := missing_package("nncf", "nncf"):
        return reason
    import nncf
    import onnx

    model = onnx.load(str(source))
    with _quiet():
        nncf.set_log_level(logging.ERROR)
        try:
            made = nncf.quantize(model, nncf.Dataset(list(calibration)), subset_size=len(calibration),
                                 model_type=nncf.ModelType.TRANSFORMER if _attends(model) else None)
        except _faults(nncf) as error:
            return _said(error)
    onnx.save(made, str(place))
    return ""


def _attends(model: ModelProto) -> bool:
    """Whether it multiplies what depends on the request with the like, as attention does."""
    fixed = {one.name for one in model.graph.initializer}
    return any(node.op_type == "MatMul" and not fixed & set(node.input) for node in model.graph.node)


def _faults(library: Any) -> tuple[type[Exception], ...]:
    own = [one for one in vars(library.errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (RuntimeError, ValueError, TypeError, KeyError, AttributeError, *own)


def _count(dims: Sequence[int]) -> int:
    count = 1
    for one in dims:
        count *= one
    return count


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _quiet() -> Any:
    """Both libraries print and log as if they were alone on the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def main(words: Sequence[str]) -> None:
    """What the child does: quantise a graph to a place with the arrays of a file, and say what was in the way."""
    source, place, held = map(Path, words)
    told = os.dup(1)  # the library draws its own bars on the screen
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    rows = dict[str, Arrays]()
    with np.load(held, allow_pickle=False) as arrays:
        for name in arrays.files:
            number, _, name_of = name.partition("/")
            rows.setdefault(number, {})[name_of] = arrays[name]
    os.write(told, _calibrated(source, place, [rows[number] for number in sorted(rows, key=int)]).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
