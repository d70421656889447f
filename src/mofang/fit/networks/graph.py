"""Export of a torch network as ONNX."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mofang.engine.arrays import Arrays
from mofang.engine.graphs import ENDS, End

OPSET = 17
TOGETHER = 1e8  # products of a call, from which several threads win more than they wait for each other
EXPORTER_LOGGER = "torch.onnx"


class _Answers(nn.Module):
    """The network with its end, and with inputs by position as the exporter wants them."""

    def __init__(self, network: nn.Module, names: list[str], end: End, centre: float, spread: float) -> None:
        super().__init__()
        self.network, self.names, self.end, self.centre, self.spread = network, names, end, centre, spread

    def forward(self, *arrays: Tensor) -> Tensor:
        found: Tensor = self.network(**dict(zip(self.names, arrays, strict=True)))
        if self.end == "softmax":
            return torch.softmax(found, dim=found.ndim - 1)
        return torch.sigmoid(found) if self.end == "sigmoid" else found * self.spread + self.centre


@dataclass(frozen=True)
class Captured:
    """A network as it is about to be exported: by position in the order of ``sample``, its one output named."""

    module: nn.Module
    sample: Arrays
    output: str

    @cached_property
    def weights(self) -> float:
        """How many weights each token is multiplied with: all but those of tables that are looked up."""
        looked_up = sum(one.weight.numel() for one in self.module.modules() if isinstance(one, nn.Embedding))
        return float(sum(one.numel() for one in self.module.parameters()) - looked_up)

    def answers(self, arrays: Arrays) -> Arrays:
        """What the network itself gives for arrays, under the graph's name."""
        threads, work = torch.get_num_threads(), self.weights * max(one.size for one in arrays.values())
        torch.set_num_threads(threads if work > TOGETHER else 1)
        try:
            with torch.inference_mode():
                found = self.module(*(torch.from_numpy(arrays[name]) for name in self.sample))
        finally:
            torch.set_num_threads(threads)
        return {self.output: found.float().numpy()}


_CAPTURED: ContextVar[list[Captured] | None] = ContextVar("captured", default=None)


@contextmanager
def capturing() -> Iterator[list[Captured]]:
    """Every network that is exported inside this block, as torch has it."""
    found: list[Captured] = []
    token = _CAPTURED.set(found)
    try:
        yield found
    finally:
        _CAPTURED.reset(token)


def network_graph(
    network: nn.Module, sample: Arrays, end: End = "softmax", centre: float = 0.0, spread: float = 1.0,
    named: str = "", each: bool = False,
) -> bytes:
    """The network as one ONNX file, weights inside, batch axis (and length axis of token ids) free.

    A number leaves it times ``spread`` plus ``centre``, in its own unit; with ``named`` what the network gives leaves it as
    it is, under this name; ``each`` says that it answers for each position. The tracing exporter is used: it takes 2 s where the
    newer one takes 28 s, and writes one file.
    """
    end = "identity" if named else end
    output = named or ENDS[end][1]
    names = sorted(sample)  # as files give them they come in any order
    if (taken := _CAPTURED.get()) is not None:
        inputs = {name: sample[name] for name in names}
        taken.append(Captured(_Answers(network, names, end, centre, spread).eval(), inputs, output))
    ragged = {array.shape for array in sample.values() if array.dtype == "int64"}  # ids, and what stands beside them
    axes = {name: {0: "batch"} | ({1: "length"} if sample[name].shape in ragged else {}) for name in names}
    rows = tuple(torch.from_numpy(sample[name][:2].copy()) for name in names)
    stream = io.BytesIO()
    logger = logging.getLogger(EXPORTER_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="Exporting aten::index", category=UserWarning)
            warnings.filterwarnings("ignore", message="Exporting a model to ONNX with a batch_size", category=UserWarning)
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            torch.onnx.export(
                _Answers(network, names, end, centre, spread).eval(),
                rows,
                stream,  # type: ignore[arg-type]  # a stream is taken, though not declared
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=[output],
                dynamic_axes=axes | {output: {0: "batch"} | ({1: "length"} if each else {})},
            )
    finally:
        logger.setLevel(level)
    return stream.getvalue()
