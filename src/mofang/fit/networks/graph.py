"""Export of a torch network as ONNX."""

from __future__ import annotations

import io
import logging
import warnings

import torch
from torch import Tensor, nn

from mofang.engine.arrays import Arrays

OPSET = 17
EXPORTER_LOGGER = "torch.onnx"


class _ByPosition(nn.Module):
    """The network with inputs by position as the exporter wants them, and with a softmax where it gives logits."""

    def __init__(self, network: nn.Module, names: list[str], softmax: bool) -> None:
        super().__init__()
        self.network, self.names, self.softmax = network, names, softmax

    def forward(self, *arrays: Tensor) -> Tensor:
        found: Tensor = self.network(**dict(zip(self.names, arrays, strict=True)))
        return torch.softmax(found, dim=1) if self.softmax else found


def network_graph(network: nn.Module, sample: Arrays, outputs: tuple[str, ...] = ()) -> bytes:
    """The network as one ONNX file, weights inside, batch axis (and length axis of token ids) free.

    A network of classes gives logits, and the graph "probabilities"; with ``outputs`` the graph gives what the network
    gives, by these names, with a free batch axis. The tracing exporter is used: it takes 2 s where the newer one takes
    28 s, and writes one file.
    """
    names, given = list(sample), list(outputs) or ["probabilities"]
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
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            torch.onnx.export(
                _ByPosition(network, names, not outputs).eval(),
                rows,
                stream,  # type: ignore[arg-type]  # a stream is taken, though not declared
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=given,
                dynamic_axes=axes | {name: {0: "batch"} for name in given},
            )
    finally:
        logger.setLevel(level)
    return stream.getvalue()
