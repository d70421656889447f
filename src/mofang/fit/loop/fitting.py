"""The largest batch that fits the memory, found by measuring what one and two rows keep for the way back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError
from mofang.fit.loop.objective import Objective
from mofang.fit.loop.plan import Plan

CHOICE = "batch.json"
STATE_COPIES = 5  # weights, gradients, two moments, the best weights
SPARE = 1.5  # what else a step needs beside what it keeps: buffers of its products, the allocator's gaps
ROWS_MOST = 4096


def fitted_plan(build: Callable[[], nn.Module], objective: Objective, plan: Plan, scratch: Path) -> Plan:
    """The plan with the largest batch (a power of two of rows) that fits its memory; the same again after a kill.

    A smaller batch than the family's own is made up for by as many micro-batches, so that a step stays what it was.
    """
    import json

    if not plan.fits_mb:
        return plan
    place = scratch / CHOICE
    if place.exists():
        rows = int(json.loads(place.read_bytes())["rows"])
    else:
        rows = _most_rows(build(), objective, plan)
        write_durably(place, canonical({"format": 1, "rows": rows}))
    positions = round(plan.positions * rows / plan.rows)
    micro = plan.micro_batches * max(1, plan.rows // rows)
    return dataclasses.replace(plan, rows=rows, positions=positions, micro_batches=micro, fits_mb=0)


def _most_rows(network: nn.Module, objective: Objective, plan: Plan) -> int:
    limit = free_bytes() / 2 if plan.fits_mb < 0 else plan.fits_mb * 2**20
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    longest = np.argsort(objective.lengths, kind="stable")[-2:]
    one, two = (_kept_bytes(network, objective, longest[-count:]) for count in (1, min(2, len(longest))))
    each = max(1.0, SPARE * max(two - one, one / 2))
    if plan.positions:  # a batch of long rows holds fewer of them: what counts are its positions
        each *= min(1.0, plan.positions / (plan.rows * max(1, int(objective.lengths.max()))))
    possible = (limit - STATE_COPIES * weights - SPARE * max(0, 2 * one - two)) / each
    if possible < 1:
        needs = STATE_COPIES * weights + SPARE * one
        raise MofangError("row-too-large", needs_mb=round(needs / 2**20), limit_mb=round(limit / 2**20))
    return int(2 ** np.floor(np.log2(min(possible, ROWS_MOST, len(objective.lengths)))))


def _kept_bytes(network: nn.Module, objective: Objective, rows: np.ndarray) -> int:
    """Bytes that these rows keep for the way back, each storage once."""
    held: dict[int, int] = {}
    own = {value.untyped_storage().data_ptr() for value in network.parameters()}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return value

    network.train()
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = objective.loss(network, objective.batch(rows, 0, 0))
    del loss
    return sum(held.values())


def free_bytes() -> int:
    """Memory that is free now: the accelerator's, or the machine's within its control group."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    found = [_available()]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        place = Path("/sys/fs/cgroup") / name
        if place.exists() and place.read_text().strip().isdigit():
            found.append(int(place.read_text()))
    return min(found)


def _available() -> int:
    table = Path("/proc/meminfo")
    if table.exists():
        return next(int(line.split()[1]) * 1024 for line in table.read_text().splitlines() if line.startswith("MemAvailable:"))
    if hasattr(os, "sysconf"):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2
    return 4 * 2**30
