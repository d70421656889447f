"""The child process of the torch engine: ``python -m mofang.engine.torchchild PROGRAM WEIGHTS THREADS``.

It reads an exported program (torch.export's JSON) and its weights (safetensors) and answers frames of arrays on its
standard input until that ends. Only programs of the own shop are read: what a program says is computed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays
from mofang.engine.runtimes.torch import read_frame, write_frame


def program_of(about: Path, weights: Path, threads: int) -> Callable[[Arrays], Arrays]:
    """The program as a function of named arrays."""
    import torch
    from safetensors.torch import load_file
    from torch._export.serde.serialize import SerializedArtifact, deserialize

    torch.set_num_threads(threads)
    said = json.loads(about.read_bytes())
    state: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for key, tensor in load_file(weights).items():
        kind, _, name = key.partition("/")
        into = constants if kind == "constant" else state
        into[name] = torch.nn.Parameter(tensor, requires_grad=False) if kind == "parameter" else tensor
    artifact = SerializedArtifact(json.dumps(said["program"]).encode(), cast(Any, state), cast(Any, constants), b"")
    module = deserialize(artifact).module()

    def answer(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(arrays[name].copy()) for name in said["inputs"]))
        return {said["output"]: found.numpy()}

    return answer


def main(about: Path, weights: Path, threads: int) -> int:
    """Answer until the parent closes the pipe."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not reach the frames
    answer = program_of(about, weights, threads)
    write_frame(out, {})
    while True:
        try:
            arrays = read_frame(sys.stdin.buffer)
        except EOFError:
            return 0
        try:
            found, error = answer(arrays), ""
        except (MofangError, RuntimeError, ValueError, KeyError, AssertionError) as failure:
            found, error = {}, f"{type(failure).__name__}: {failure}"[:500]
        write_frame(out, found, error)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
