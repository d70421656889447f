"""What is kept when a loss is no number any more: the batch as it was, and the records in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mofang.core.canonical import write_durably
from mofang.engine.arrays import Array
from mofang.fit.loop.checkpoint import tensors_file
from mofang.fit.loop.objective import Batch, Objective

SHOWN = 3


def keep_batch(scratch: Path, step: int, group: list[Array], batches: list[Batch], objective: Objective) -> tuple[Path, str]:
    """Write the step's tensors and record ids below ``scratch/failed``; gives the folder, and the first ids in words.

    An objective that has ``ids(rows)`` names records; otherwise they are numbers of training rows.
    """
    folder = scratch / "failed" / f"step-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate(group)
    named = getattr(objective, "ids", None)
    ids = list(named(rows)) if named is not None else [f"row {row}" for row in rows.tolist()]
    held = {f"{number}/{name}": value for number, batch in enumerate(batches) for name, value in batch.arrays.items()}
    write_durably(folder / "batch.safetensors", tensors_file(held))
    told = {"format": 1, "step": step, "rows": rows.tolist(), "ids": ids}
    write_durably(folder / "batch.json", json.dumps(told, ensure_ascii=False).encode())
    return folder, ", ".join(ids[:SHOWN]) + (f" … ({len(ids)})" if len(ids) > SHOWN else "")
