"""A trained network as a program of torch.export: JSON for what it computes, safetensors for its weights, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mofang.engine.arrays import Arrays
from mofang.fit.family import Family


def torch_program(family: Family, weights: Mapping[str, bytes], architecture: Mapping[str, Any],
                  sample: Arrays) -> dict[str, bytes]:
    """``program.json`` and ``program.safetensors`` of a trained model; nothing where no torch network answers (a linear
    model, trees).

    Batch and length are free, as in the graph; the output has the graph's name.
    """
    import torch
    from safetensors.torch import save
    from torch._export.serde.serialize import serialize
    from torch.export import Dim

    from mofang.fit.networks.graph import capturing

    with capturing() as found:
        family.graph(weights, architecture, sample)
    if not found:
        return {}
    one = found[-1]
    rows = tuple(torch.from_numpy(array[:2].copy()) for array in one.sample.values())
    ragged = {array.shape for array in one.sample.values() if array.dtype == "int64"}
    free = tuple({0: Dim.AUTO} | ({1: Dim.AUTO} if array.shape in ragged else {}) for array in one.sample.values())
    with torch.no_grad():
        program = torch.export.export(one.module, rows, dynamic_shapes=(free,), strict=False)
    said = {"inputs": list(one.sample), "output": one.output, "torch": torch.__version__.split("+")[0],
            "program": json.loads(serialize(program).exported_program)}
    learnt = {name for name, tensor in program.state_dict.items() if isinstance(tensor, torch.nn.Parameter)}
    held = {f"{'parameter' if name in learnt else 'state'}/{name}": tensor for name, tensor in program.state_dict.items()}
    held |= {f"constant/{name}": tensor for name, tensor in program.constants.items() if isinstance(tensor, torch.Tensor)}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in held.items()}
    return {"program.json": json.dumps(said, sort_keys=True).encode(), "program.safetensors": save(tensors)}
