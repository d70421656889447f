"""ONNX Runtime on the processor: the portable engine, always there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays
from mofang.engine.runtimes import file_of, missing_package


class OnnxRuntime:
    """A session with a fixed number of threads; `optimise=False` runs the graph node by node, as written.

    ``spin_us`` is how long a thread without work looks for some before it sleeps; None leaves that to ONNX Runtime.

    Its int8 is the dynamic one: weights as bytes, activations scaled for each call, so that nothing has to be calibrated.
    """

    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = "model.onnx"
    files: ClassVar[Mapping[str, str]] = {"fp32": file, "int8": "model.dynamic.onnx"}

    def __init__(self, path: Path, threads: int, *, optimise: bool = True, spin_us: int | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if spin_us is not None:
            options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except failures() as error:
            raise MofangError("engine-refuses", engine=self.name, reason=_first_line(error)) from error
        self._outputs = [each.name for each in self._session.get_outputs()]

    @classmethod
    def available(cls) -> str | None:
        """None, or that onnxruntime is not installed."""
        return missing_package("onnxruntime", "onnxruntime")

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32", streams: int = 1) -> Self:
        """Open the graph of this precision in the folder. With several streams each call runs in its caller's thread."""
        return cls(file_of(cls, folder, precision), threads)

    def run(self, arrays: Arrays) -> Arrays:
        """Run the graph once."""
        return dict(zip(self._outputs, self._session.run(self._outputs, arrays), strict=True))


def failures() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions: one per status code, without a base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)]
    return (RuntimeError, ValueError, *own)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
