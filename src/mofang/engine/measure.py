"""Measure engines on this machine: the graph's own requests, every engine, precision, thread count, streams and batch size.

An engine whose probabilities leave the reference by more than its precision's tolerance, or that changes a label, does
not pass, however fast it is. One that cannot load the graph stands in the table with its reason. int8 has no bound on its
probabilities: it must answer 99 of 100 canonical requests alike, and has its quality taken on labelled records (serve/lossy.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.agreement import agreement, borders_of
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.engine.machine import cores, machine_facts
from mofang.engine.outputs import MASKS, run_graph, stacked, widened
from mofang.engine.runtimes import LOSSY, RUNTIMES, Runtime, runtime_named

__all__ = ["cores", "machine_facts"]  # and what is defined here

TOLERANCE = 1e-4      # largest absolute difference of a probability between float32 engines
BF16_TOLERANCE = 2e-2  # bfloat16 keeps 8 bits of a number
INT8_LABEL_TOLERANCE = 0.1  # a label of int8 counts as changed where the model itself was surer than so much
AGREEMENT_MIN = 0.99        # of the canonical requests that int8 must answer as the model does (decisions/031)
INT8_TOLERANCE_MAX = 0.5    # whatever a table says: a probability that moves further is another answer
NUMBER_TOLERANCE_MAX = 0.25 # of int8 where no labels are answered, relative to the largest number
CALLS_MIN = 3
BATCHES = (1, 8, 32)
SPOT = 64             # canonical requests that every row of the table answers; the first of an engine answers all
TIMED = 32            # records that are timed
WHOLE = 256           # padded records at once where all are answered: they go sorted by length
SLOW = 500.0          # records a second: below it batches of 8, and fewer records in each row, say the same in minutes less
SLOW_BATCH = 8
CHILD = "torch"       # its processes take seconds to start, so it is measured with one
LOSSY_GAIN = 1.2      # a precision that loses something must win at least so much

Objective = Literal["throughput", "latency", "size"]
Row = dict[str, Any]
Encode = Callable[[Sequence[Record]], Arrays]


@dataclass(frozen=True)
class Parity:
    """How far probabilities are from the reference, and how far they may be."""

    max_abs_difference: float
    label_agreement: float
    tolerance: float = TOLERANCE

    @property
    def passes(self) -> bool:
        """Within the tolerance and every label the same."""
        return self.max_abs_difference <= self.tolerance and self.label_agreement == 1.0


def tolerance_of(row: Mapping[str, Any]) -> float:
    """How far an engine of the table may be from the reference: by its precision; of int8 what its own quality allowed."""
    precision = row.get("precision", "fp32")
    if precision == "fp32":
        return TOLERANCE
    if precision == "bf16":
        return BF16_TOLERANCE
    said = row.get("tolerance", 0.0)
    return min(INT8_TOLERANCE_MAX, float(said)) if isinstance(said, int | float) else 0.0


def compare(found: Array, reference: Array, tolerance: float = TOLERANCE, borders: Array | None = None) -> Parity:
    """Compare probabilities float32 [B, K]. A label that the reference itself holds within the tolerance of
    the likeliest (or of its border) counts as agreeing; a NaN agrees with nothing."""
    if found.shape != reference.shape:
        return Parity(float("inf"), 0.0, tolerance)
    difference = np.abs(found.astype(np.float64) - reference).max(initial=0.0)
    worst = float("inf") if np.isnan(difference) else float(difference)
    return Parity(worst, agreement(found, reference, tolerance, borders), tolerance)


def compare_outputs(found: Mapping[str, Array], reference: Mapping[str, Array], tolerance: float = TOLERANCE,
                    borders: Array | None = None) -> Parity:
    """Compare all outputs by name: probabilities absolutely and by what is answered, others against the largest of
    their values (at least 1). Rows of different length may be padded to another length."""
    if set(found) != set(reference):
        return Parity(float("inf"), 0.0, tolerance)
    each = [_compare_one(name, found[name], reference[name], tolerance, borders) for name in sorted(reference)]
    return Parity(max(one.max_abs_difference for one in each), min(one.label_agreement for one in each), tolerance)


def _compare_one(name: str, found: Array, reference: Array, tolerance: float, borders: Array | None) -> Parity:
    if found.ndim != reference.ndim or (found.ndim == 2 and found.shape != reference.shape):
        return Parity(float("inf"), 0.0, tolerance)
    if found.ndim > 2:     # [B, L, K] as [B x L, K]
        shape = tuple(map(max, zip(found.shape, reference.shape, strict=True)))
        found, reference = (widened(one, shape).reshape(-1, shape[-1]) for one in (found, reference))
    if name == "probabilities" and found.ndim == 2:
        return compare(found, reference, tolerance, borders)
    scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
    difference = np.abs(found.astype(np.float64) - reference).max(initial=0.0) / scale
    return Parity(float("inf") if np.isnan(difference) else float(difference), 1.0, tolerance)


def measure(folder: Path, about: Mapping[str, Any], records: Sequence[Record], encode: Encode, reference: Arrays, *,
            encoder: Encoder, seconds: float = 0.2, batches: Sequence[int] = BATCHES, precisions: Sequence[str] = ("fp32",),
            ahead: Mapping[tuple[str, str], Arrays] | None = None, tick: Callable[[], None] = lambda: None) -> list[Row]:
    """The engines' table: one row per engine, precision, threads, streams and batch, with p50_ms, samples_per_s,
    max_abs_difference, label_agreement and passes; a row with "reason" for an engine that could not be measured.

    ``streams`` calls run at a time, each with ``threads`` threads. Each engine and precision answers all ``records`` once,
    and in every row the first 64 and those that are timed, up to 32 of the second half, ``seconds`` per row at least. A model
    that answers fewer than 500 records a second is timed on a quarter of them, in batches of at most 8, and answers only these;
    where 8 at once were no faster than one, with all cores, they are not tried otherwise. ``ahead`` are answers to all records
    that an engine gave before.
    """
    rows: list[Row] = []
    refused: set[tuple[str, str]] = set()
    trial = _Trial(records, encode, reference, encoder, seconds, borders_of(about), ahead or {})
    for name, precision, threads, streams in planned(folder, precisions):
        if (name, precision) in refused:
            continue
        began = time.perf_counter()
        try:
            engine = start(name, folder, about, threads, precision, streams)
        except MofangError as error:
            rows.append({"engine": name, "precision": precision, "passes": False, "reason": str(error.values["reason"])})
            refused.add((name, precision))
            continue
        known = {"engine": name, "precision": precision, "threads": threads, "streams": streams,
                 "load_s": round(time.perf_counter() - began, 3),
                 "size_bytes": (folder / engine.files[precision]).stat().st_size}
        own = [row for row in rows if (row["engine"], row["precision"]) == (name, precision)]
        whole = not own
        fitting = trial.worth(own, trial.fitting(engine, batches))
        for batch in sorted(batches, reverse=True):
            if batch in fitting:
                timed, answered = trial.time(engine, batch, streams)
                parity = trial.parity(engine, batch, (name, precision), answered, whole=whole and batch == max(fitting))
                rows.append({**known, "batch": batch, **timed, **parity})
            tick()
    return _agreed(rows, len(records))


def answer_all(engine: Runtime, records: Sequence[Record], encode: Encode, encoder: Encoder, batch: int = 8,
               tick: Callable[[int], None] = lambda _: None) -> Arrays:
    """What an engine gives for all records; padded ones go many at once, sorted by length."""
    found = list[Arrays]()
    size = WHOLE if any(name in MASKS for name in encode(records[:1])) else batch
    for part in chunks(records, size):
        found.append(run_graph(engine, encoder, encode(part)))
        tick(len(part))
    return stacked(found)


def _agreed(rows: list[Row], count: int) -> list[Row]:
    """An engine that failed on all requests at one setting does not pass at another that answered fewer."""
    failed = {(row["engine"], row["precision"]) for row in rows if not row["passes"] and row.get("requests") == count}
    for row in rows:
        row["passes"] = row["passes"] and (row["engine"], row["precision"]) not in failed
    return rows


def planned(folder: Path, precisions: Sequence[str] = ("fp32",)) -> list[tuple[str, str, int, int]]:
    """What is measured: (engine, precision, threads, streams) for each engine whose file for that precision is there."""
    there = [(name, precision) for name in RUNTIMES for precision in precisions
             if (folder / runtime_named(name).files.get(precision, "-")).exists()]
    return [(*one, threads, streams) for one in there
            for threads, streams in (layouts(cores())[:1] if one[0] == CHILD else layouts(cores()))]


def layouts(count: int) -> list[tuple[int, int]]:
    """Threads of a call, and calls at a time: all cores for one call, a core for each of many, and two calls that overlap."""
    if count == 1:
        return [(1, 1)]
    found = [(count, 1), (1, count), (count, 2)]
    return [*found, (count // 4, 4)] if count >= 8 else found


def start(name: str, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32",
          streams: int = 1) -> Runtime:
    """Load a graph on an engine; raises MofangError engine-refuses if it is not installed or cannot."""
    runtime = runtime_named(name)
    if reason := runtime.available():
        raise MofangError("engine-refuses", engine=name, reason=reason)
    return runtime.load(folder, about, threads, precision, streams)


def choose(rows: Sequence[Row], objective: Objective) -> Row | None:
    """The best row that passes: most samples per second, or the smallest p50 at batch 1, or the smallest file.

    A precision that loses something is taken for its speed only where it is at least 1.2 times as fast as float32.
    """
    passing = [row for row in rows if row["passes"]]
    if objective == "latency":
        passing.sort(key=lambda row: (row["batch"], row["p50_ms"], row.get("streams", 1)))
    elif objective == "size":
        passing.sort(key=lambda row: (row["size_bytes"], -row["samples_per_s"]))
    else:
        passing.sort(key=lambda row: -row["samples_per_s"])
    exact = [row for row in passing if row.get("precision", "fp32") not in LOSSY]
    if objective != "size" and exact and passing[0] is not exact[0]:
        rate = "p50_ms" if objective == "latency" else "samples_per_s"
        gain = passing[0][rate] / exact[0][rate] if rate == "samples_per_s" else exact[0][rate] / max(1e-9, passing[0][rate])
        return passing[0] if gain >= LOSSY_GAIN else exact[0]
    return passing[0] if passing else None


def chunks(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    """Records in stretches of at most `size`."""
    return [records[begin:begin + size] for begin in range(0, len(records), size)]


class _Trial:
    """The requests that every engine answers, encoded once for each batch size where they are small."""

    def __init__(self, records: Sequence[Record], encode: Encode, reference: Arrays, encoder: Encoder, seconds: float,
                 borders: Array | None, ahead: Mapping[tuple[str, str], Arrays]) -> None:
        self.records, self.encode, self.reference, self.encoder, self.seconds = records, encode, reference, encoder, seconds
        self._borders, self._ahead = borders, ahead
        self._begin, self._late = len(records) // 2, records[len(records) // 2:][:TIMED]
        self._timed: dict[int, list[tuple[Arrays, int]]] = {}
        self._spot: dict[int, list[Arrays]] = {}
        self._slow: bool | None = None

    def fitting(self, engine: Runtime, batches: Sequence[int]) -> Sequence[int]:
        """The batch sizes worth measuring; whether the model is slow is told by the first engine."""
        if self._slow is None:
            arrays, count = self.encode(self._late[:SLOW_BATCH]), len(self._late[:SLOW_BATCH])
            run_graph(engine, self.encoder, arrays)
            began = time.perf_counter()
            run_graph(engine, self.encoder, arrays)
            self._slow = count / max(1e-9, time.perf_counter() - began) < SLOW
            if self._slow:
                self._late = self._late[:SLOW_BATCH]
        return [one for one in batches if one <= SLOW_BATCH] or batches if self._slow else batches

    def worth(self, own: Sequence[Row], fitting: Sequence[int]) -> Sequence[int]:
        """Of a slow engine that was measured already the batch sizes that won something there."""
        alone = max((row["samples_per_s"] for row in own if row["batch"] == 1), default=0.0)
        return [one for one in fitting if one == 1 or any(row["batch"] == one and row["samples_per_s"] > alone for row in own)
                ] if self._slow and alone else fitting

    def parity(self, engine: Runtime, batch: int, pair: tuple[str, str], answered: Arrays, *, whole: bool) -> Row:
        """How far the answers are from the reference: to all records, or to the timed ones (``answered``) and the first 64."""
        if whole:
            found = self._ahead.get(pair) or answer_all(engine, self.records, self.encode, self.encoder, batch)
            wanted = self.reference
        else:
            found, wanted = answered, self._wanted(self._begin, len(self._late))
            if not self._slow:
                if batch not in self._spot:
                    self._spot[batch] = [self.encode(part) for part in chunks(self.records[:SPOT], batch)]
                found = stacked([*(run_graph(engine, self.encoder, part) for part in self._spot[batch]), found])
                wanted = stacked([self._wanted(0, SPOT), wanted])
        known = {"bf16": BF16_TOLERANCE, "int8": INT8_LABEL_TOLERANCE}.get(pair[1], TOLERANCE)
        parity = compare_outputs(found, wanted, known, self._borders)
        return {"requests": len(next(iter(wanted.values()))), "max_abs_difference": parity.max_abs_difference,
                "label_agreement": parity.label_agreement, "passes": parity.passes}

    def _wanted(self, begin: int, count: int) -> Arrays:
        return {name: array[begin:begin + count] for name, array in self.reference.items()}

    def time(self, engine: Runtime, batch: int, streams: int) -> tuple[Row, Arrays]:
        """The median of a call and the records a second, over ``streams`` threads that call at a time; and what was answered."""
        if batch not in self._timed:
            self._timed[batch] = [(self.encode(part), len(part)) for part in chunks(self._late, batch)]
        parts, run, ready = self._timed[batch], partial(run_graph, engine, self.encoder), threading.Barrier(streams)
        first = list[Arrays]()

        def work(place: int) -> tuple[float, float, list[float], int]:
            spent_s: list[float] = []
            rows, warm = 0, False
            try:
                warmed = [run(arrays) for arrays, _ in parts]  # so that no shape is met for the first time
                first.extend(warmed if place == 0 else ())
                ready.wait()
                warm = True
            finally:
                if not warm:
                    ready.abort()
            began = now = time.perf_counter()
            while now - began < self.seconds or len(spent_s) < CALLS_MIN:
                arrays, count = parts[(place + len(spent_s)) % len(parts)]
                run(arrays)
                before, now = now, time.perf_counter()
                spent_s.append(now - before)
                rows += count
            return began, now, spent_s, rows

        with ThreadPoolExecutor(streams) as pool:
            done = list(pool.map(work, range(streams)))
        total_s = max(one[1] for one in done) - min(one[0] for one in done)
        spent = [one for each in done for one in each[2]]
        return {"p50_ms": round(float(np.median(spent)) * 1e3, 4),
                "samples_per_s": round(sum(one[3] for one in done) / total_s, 1)}, stacked(first)
