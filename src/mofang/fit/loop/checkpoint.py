"""Checkpoints that survive a kill: tensors as safetensors, the rest as JSON that names the tensors' digest.

The tensors of a step are written first under a name of their own and synced, then the JSON beside them in one
rename. The two newest pairs are kept: a crash at any point, or a byte that flips later, leaves the older one.
Nothing here reads or writes pickles.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from mofang.core.canonical import canonical, digest_of, sha256, write_durably

FORMAT = 2
KEPT = 2


@dataclass(frozen=True)
class Found:
    """A whole checkpoint, and how many newer ones were refused because their bytes have changed."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    refused: int = 0


def write_checkpoint(
    folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]
) -> None:
    """Write the tensors and the state of one step, then sweep all but the two newest away."""
    data = tensors_file(tensors)
    name = f"checkpoint-{step}.safetensors"
    write_durably(folder / name, data)
    point_to(folder, step, {"format": FORMAT, "file": name, "sha256": sha256(data), "state": state})


def point_to(folder: Path, step: int, about: dict[str, Any]) -> None:
    """Make what was written for a step the newest checkpoint; of older ones one stays."""
    write_durably(folder / f"checkpoint-{step}.json", canonical({**about, "check": digest_of(about)}))
    for old in _pointers(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    kept = {path.stem for path in _pointers(folder)}
    for torn in folder.glob("checkpoint-*.safetensors"):
        if torn.stem not in kept:
            torn.unlink(missing_ok=True)
    for parts in folder.glob("checkpoint-*/"):
        if parts.name not in kept:
            shutil.rmtree(parts, ignore_errors=True)


def read_checkpoint(folder: Path) -> Found | None:
    """The newest whole checkpoint, or None: where all are missing, torn or altered, training starts anew."""
    for refused, path in enumerate(_pointers(folder)):
        try:
            about = json.loads(path.read_bytes())
            check = about.pop("check")
            if "files" in about:
                tensors = _parts(folder, about, check)
                if tensors is None:
                    continue
                return Found(tensors, about["state"], refused)
            data = (folder / Path(about["file"]).name).read_bytes()
        except (FileNotFoundError, ValueError, KeyError, AttributeError):
            continue
        if about.get("format") == FORMAT and digest_of(about) == check and sha256(data) == about["sha256"]:
            return Found(load(data), about["state"], refused)
    return None


def _parts(folder: Path, about: dict[str, Any], check: str) -> dict[str, torch.Tensor] | None:
    """The tensors of a checkpoint that several ranks wrote, or None if it is not as it was written."""
    from mofang.fit.loop.parted import read_parts

    if about.get("format") != FORMAT or digest_of(about) != check:
        return None
    return read_parts(folder / Path(about["folder"]).name, about["files"])


def tensors_file(tensors: dict[str, torch.Tensor]) -> bytes:
    """Tensors as safetensors; weights that are tied are written under each of their names."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().to("cpu").contiguous()
        place = whole.untyped_storage().data_ptr()
        found[name] = whole.clone() if place in seen else whole
        seen.add(place)
    return save(found)


def _pointers(folder: Path) -> list[Path]:
    """The JSON files, newest first."""
    found = [path for path in folder.glob("checkpoint-*.json") if path.stem.partition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.stem.partition("-")[2]), reverse=True)
