"""OpenVINO on the processor: often the fastest on x86, in float32, bfloat16 or with int8 that NNCF calibrated."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.runtimes import file_of, missing_package


class OpenVinoRuntime:
    """A compiled model with one inference request per calling thread.

    Left alone it takes bfloat16 where the processor has it, which moves probabilities by up to about 1e-2; the hint f32
    keeps them within 1e-6 of the model, so each precision is asked for by name. Code is compiled anew for every shape (3 to
    9 ms even for a linear model), so batches and lengths are padded with zeros to a few dozen shapes and the answers cut
    back.
    """

    name: ClassVar[str] = "openvino"
    file: ClassVar[str] = "model.onnx"
    files: ClassVar[Mapping[str, str]] = {"fp32": file, "bf16": file, "int8": "model.int8.onnx"}

    def __init__(self, path: Path, threads: int, precision: str = "fp32", streams: int = 1) -> None:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would phone home

        try:
            core = _core()
            if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise MofangError("engine-refuses", engine=self.name, reason="this processor has no bfloat16")
            settings = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                        "INFERENCE_NUM_THREADS": threads * streams, "NUM_STREAMS": streams, "PERFORMANCE_HINT": "LATENCY"}
            self._model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        except RuntimeError as error:
            raise MofangError("engine-refuses", engine=self.name, reason=_reason(error)) from error
        self._outputs = [_output_name(each) for each in self._model.outputs]
        self._dynamic = {each.get_any_name(): [axis.is_dynamic for axis in each.get_partial_shape()]
                         for each in self._model.inputs}
        self._requests = threading.local()

    @classmethod
    def available(cls) -> str | None:
        """None, or that openvino is not installed."""
        return missing_package("openvino", "openvino")

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32", streams: int = 1) -> Self:
        """Compile the graph of this precision in the folder."""
        return cls(file_of(cls, folder, precision), threads, precision, streams)

    def run(self, arrays: Arrays) -> Arrays:
        """Run the graph once."""
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._model.create_infer_request()
        rows = len(next(iter(arrays.values())))
        padded = {name: _padded(array, self._dynamic[name]) for name, array in arrays.items()}
        results = request.infer(padded, share_inputs=True)
        return {name: np.array(results[number][:rows]) for number, name in enumerate(self._outputs)}


def _output_name(output: Any) -> str:
    """The graph's own name of an output: a tensor that passes through a node without change has several names."""
    return str(output.get_node().get_friendly_name()).partition("/sink_port")[0]


def _padded(array: Array, dynamic: list[bool]) -> Array:
    """Zeros up to the next power of two in the batch, and to the next sixteenth of one (at least 16) in
    length."""
    shape = list(array.shape)
    if dynamic[0]:
        shape[0] = 1 << max(0, shape[0] - 1).bit_length()
    for axis in range(1, len(shape)):
        if dynamic[axis]:
            step = max(16, (1 << max(0, shape[axis] - 1).bit_length()) // 8)
            shape[axis] = -(-shape[axis] // step) * step
    if tuple(shape) == array.shape:
        return np.ascontiguousarray(array)
    padded = np.zeros(shape, array.dtype)
    padded[tuple(slice(length) for length in array.shape)] = array
    return padded


def _reason(error: Exception) -> str:
    """OpenVINO's message without its stack of source files."""
    lines = [line.strip(" -") for line in str(error).splitlines()
             if line.strip() and "Exception from" not in line and "Check '" not in line]
    return (lines or [type(error).__name__])[-1]


def _core() -> Any:
    """One core for the whole process, never let go: it gives the thread a stack for signals (sigaltstack), and frees that
    memory with itself, after which the next Ctrl-C or SIGTERM would crash the process."""
    import openvino

    with _MAKING:
        if not _CORES:
            _CORES.append(openvino.Core())
    return _CORES[0]


_CORES: list[Any] = []
_MAKING = threading.Lock()
