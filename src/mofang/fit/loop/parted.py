"""Checkpoints that every rank writes its own part of (PyTorch's DCP), and that any number of ranks reads again.

Beside the parts lies a pickled table of contents. It is read only after the digest of every file was found to be the one
that the run itself wrote down; it never comes from elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from mofang.core.canonical import sha256, sync_folder


def write_parts(folder: Path, tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    """Write the tensors, divided ones by all ranks together; on the first rank the digest of each file, else nothing."""
    first = dist.get_rank() == 0
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():  # of a rank that was killed while it wrote
            old.unlink()
    dist.barrier()
    save({name: value.detach() for name, value in tensors.items()}, checkpoint_id=folder)
    for path in folder.glob(f"__{dist.get_rank()}_*"):
        _settle(path)
    dist.barrier()
    if not first:
        return {}
    _settle(folder / ".metadata")
    sync_folder(folder)
    return {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())}


def _settle(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_parts(folder: Path, digests: dict[str, str]) -> dict[str, torch.Tensor] | None:
    """All tensors, whole; None where a file is missing or altered."""
    try:
        if {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())} != digests:
            return None
    except FileNotFoundError:
        return None
    stored: dict[str, Any] = FileSystemReader(folder).read_metadata().state_dict_metadata
    found = {name: torch.empty(one.size, dtype=one.properties.dtype)
             for name, one in stored.items() if isinstance(one, TensorStorageMetadata)}
    load(found, checkpoint_id=folder, no_dist=True)
    return found
