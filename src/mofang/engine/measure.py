"""Measure engines on this machine: the graph's own requests, every engine, thread count and batch size.

An engine whose probabilities leave the reference by more than the tolerance, or that changes a label, does
not pass, however fast it is. One that cannot load the graph stands in the table with its reason.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mofang
from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.engine.outputs import run_graph, stacked, widened
from mofang.engine.runtimes import RUNTIMES, Runtime, runtime_named

TOLERANCE = 1e-4      # largest absolute difference of a probability between float32 engines
CALLS_MIN = 5
BATCHES = (1, 8, 32)

Objective = Literal["throughput", "latency", "size"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Parity:
    """How far probabilities are from the reference."""

    max_abs_difference: float
    label_agreement: float

    @property
    def passes(self) -> bool:
        """Within the tolerance and every label the same."""
        return self.max_abs_difference <= TOLERANCE and self.label_agreement == 1.0


def compare(found: Array, reference: Array) -> Parity:
    """Compare probabilities float32 [B, K]. A label that the reference itself holds within the tolerance of
    the likeliest counts as agreeing; a NaN agrees with nothing."""
    if found.shape != reference.shape:
        return Parity(float("inf"), 0.0)
    difference = np.abs(found.astype(np.float64) - reference).max(initial=0.0)
    chosen = np.take_along_axis(reference, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    agree = chosen >= reference.max(axis=1, initial=0.0) - TOLERANCE
    worst = float("inf") if np.isnan(difference) else float(difference)
    return Parity(worst, float(agree.mean()) if len(agree) else 1.0)


def compare_outputs(found: Mapping[str, Array], reference: Mapping[str, Array]) -> Parity:
    """Compare all outputs by name: probabilities absolutely and by what is likeliest, others against the largest of
    their values (at least 1). Rows of different length may be padded to another length."""
    if set(found) != set(reference):
        return Parity(float("inf"), 0.0)
    each = [_compare_one(name, found[name], reference[name]) for name in sorted(reference)]
    return Parity(max(one.max_abs_difference for one in each), min(one.label_agreement for one in each))


def _compare_one(name: str, found: Array, reference: Array) -> Parity:
    if found.ndim != reference.ndim or (found.ndim == 2 and found.shape != reference.shape):
        return Parity(float("inf"), 0.0)
    if found.ndim > 2:     # [B, L, K] as [B x L, K]
        shape = tuple(map(max, zip(found.shape, reference.shape, strict=True)))
        found, reference = (widened(one, shape).reshape(-1, shape[-1]) for one in (found, reference))
    if name == "probabilities" and found.ndim == 2:
        return compare(found, reference)
    scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
    difference = np.abs(found.astype(np.float64) - reference).max(initial=0.0) / scale
    return Parity(float("inf") if np.isnan(difference) else float(difference), 1.0)


def measure(folder: Path, about: Mapping[str, Any], records: Sequence[Record],
            encode: Callable[[Sequence[Record]], Arrays], reference: Arrays, *, encoder: Encoder, seconds: float = 0.3,
            batches: Sequence[int] = BATCHES, tick: Callable[[], None] = lambda: None) -> list[Row]:
    """The engines' table: one row per engine, threads and batch, with p50_ms, samples_per_s,
    max_abs_difference, label_agreement and passes; a row with "reason" for an engine that could not be
    measured.

    Parity is taken on all `records` in batches of each size; time on their second half, `seconds` per row at
    least.
    """
    rows: list[Row] = []
    refused: set[str] = set()
    for name, threads in planned(folder):
        if name in refused:
            continue
        began = time.perf_counter()
        try:
            engine = start(name, folder, about, threads)
        except MofangError as error:
            rows.append({"engine": name, "passes": False, "reason": str(error.values["reason"])})
            refused.add(name)
            continue
        known = {"engine": name, "threads": threads, "load_s": round(time.perf_counter() - began, 3),
                 "size_bytes": (folder / engine.file).stat().st_size}
        for batch in batches:
            run = partial(run_graph, engine, encoder)
            found = _measure_batch(run, records, encode, reference, batch, seconds)
            rows.append({**known, "batch": batch, **found})
            tick()
    return rows


def planned(folder: Path) -> list[tuple[str, int]]:
    """What is measured: (engine, threads) for each engine whose file is there, on one core and on all."""
    counts = sorted({1, cores()})
    there = [name for name in RUNTIMES if (folder / runtime_named(name).file).exists()]
    return [(name, count) for name in there for count in counts]


def start(name: str, folder: Path, about: Mapping[str, Any], threads: int) -> Runtime:
    """Load a graph on an engine; raises MofangError engine-refuses if it is not installed or cannot."""
    runtime = runtime_named(name)
    if reason := runtime.available():
        raise MofangError("engine-refuses", engine=name, reason=reason)
    return runtime.load(folder, about, threads)


def choose(rows: Sequence[Row], objective: Objective) -> Row | None:
    """The best row that passes: most samples per second, or the smallest p50 at batch 1, or the smallest
    file."""
    passing = [row for row in rows if row["passes"]]
    if objective == "latency":
        passing.sort(key=lambda row: (row["batch"], row["p50_ms"]))
    elif objective == "size":
        passing.sort(key=lambda row: (row["size_bytes"], -row["samples_per_s"]))
    else:
        passing.sort(key=lambda row: -row["samples_per_s"])
    return passing[0] if passing else None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts() -> dict[str, Any]:
    """What a table of engines says of the machine it was measured on."""
    return {"processor": platform.machine(), "system": platform.system(), "cores": cores(),
            "mofang": mofang.__version__}


def chunks(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    """Records in stretches of at most `size`."""
    return [records[begin:begin + size] for begin in range(0, len(records), size)]


def _measure_batch(run: Callable[[Arrays], Arrays], records: Sequence[Record],
                   encode: Callable[[Sequence[Record]], Arrays], reference: Arrays, batch: int, seconds: float) -> Row:
    parity = compare_outputs(stacked([run(encode(part)) for part in chunks(records, batch)]), reference)
    parts = chunks(records[len(records) // 2:], batch)
    arrays = [encode(part) for part in parts]
    for each in arrays:       # a second pass, so that no shape is met for the first time
        run(each)
    spent_s: list[float] = []
    samples = 0
    total_s = 0.0
    while total_s < seconds or len(spent_s) < max(CALLS_MIN, len(arrays)):
        number = len(spent_s) % len(arrays)
        began = time.perf_counter()
        run(arrays[number])
        spent_s.append(time.perf_counter() - began)
        total_s += spent_s[-1]
        samples += len(parts[number])
    return {"p50_ms": round(float(np.median(spent_s)) * 1e3, 4), "samples_per_s": round(samples / total_s, 1),
            "max_abs_difference": parity.max_abs_difference, "label_agreement": parity.label_agreement,
            "passes": parity.passes}
