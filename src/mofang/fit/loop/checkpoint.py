"""Checkpoints that survive a kill: tensors as safetensors, the rest as JSON that names the tensors' digest.

The tensors are written first under a new name and synced; then the JSON is replaced in one rename. A crash at
any point leaves the older pair or the newer. Nothing here reads or writes pickles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from mofang.core.canonical import canonical, sha256, write_durably

POINTER = "checkpoint.json"


def write_checkpoint(
    folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]
) -> None:
    """Write the tensors and the state of one step, then sweep older tensors away."""
    data = save({name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()})
    name = f"checkpoint-{step}.safetensors"
    write_durably(folder / name, data)
    pointer = {"format": 1, "file": name, "sha256": sha256(data), "state": state}
    write_durably(folder / POINTER, canonical(pointer))
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint, or None: a missing, torn or altered one means starting from the
    beginning.
    """
    try:
        pointer = json.loads((folder / POINTER).read_bytes())
        data = (folder / Path(pointer["file"]).name).read_bytes()
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if sha256(data) != pointer["sha256"]:
        return None
    return load(data), pointer["state"]
