"""What a lighter precision costs, on the evaluation's own test part: its headline figure, and the paired difference to the
model as it was trained, with the interval of that difference.

A precision that loses something serves only where the whole interval of its difference lies above the loss that was
allowed. After a quarter and a half of the records (drawn, not the first ones) an interval 1.43 times as wide (99.5 % instead of
95 %) may tell already. Without test records here nothing can be said of int8, so it is not used; bfloat16 may still pass by its
arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.data.operators import apply_operators
from mofang.data.records import RecordReader, Records
from mofang.engine.arrays import Array, Arrays
from mofang.engine.decode.classes import chosen
from mofang.engine.encode import load_encoder
from mofang.engine.machine import cores
from mofang.engine.measure import AGREEMENT_MIN, INT8_TOLERANCE_MAX, NUMBER_TOLERANCE_MAX, Row, start
from mofang.engine.outputs import run_graph, stacked
from mofang.engine.runtimes import LOSSY, Runtime
from mofang.engine.task import task_named
from mofang.fit.answers import BATCH_ROWS, truth_of
from mofang.judge.figures import OVERALL, Figures, Weighed, intervals
from mofang.judge.targets import JUDGES, measured, records_of

RESAMPLES = 500
SLACK, WIDER = 5e-3, 1.5   # int8 may stray so much further at a load than it did on all canonical requests here
LOOKS, EARLY = (1, 2), 1.43  # quarters of the test records after which is looked early; such an interval is so much wider
EARLY_ROWS = 400           # least records of an early look: so many without one change show a loss below 0.01
PART = "test"

Pair = tuple[str, str]  # engine, precision


@dataclass(frozen=True)
class Tested:
    """What a precision is judged by: the graph's folder, its encoder's files, and the test records."""

    folder: Path
    about: dict[str, Any]
    encoder: dict[str, bytes]
    test: Records
    loss_max: float
    seed: int
    exact: Arrays | None = None  # what the model itself gave for all of them, where the evaluation kept it


def test_behind(run: Run, evaluation: Artifact) -> Records | None:
    """The test records that an evaluation was made on; None where they are no longer in this shop."""
    for given in run.shop.ledger.get(evaluation.entry).body.get("inputs", []):
        if given["kind"] == Records.kind:
            return _records(run, given)
    return None


def kept_answers(run: Run, evaluation: Artifact, graph: Artifact) -> Arrays | None:
    """The probabilities float32 [N, K] that this very graph gave for the test records at its evaluation, if they were kept."""
    import pyarrow.parquet as pq

    given = [one["entry"] for one in run.shop.ledger.get(evaluation.entry).body.get("inputs", []) if one["kind"] == graph.kind]
    if given[:1] != [graph.entry] or not evaluation.has("predictions.parquet"):
        return None
    with evaluation.open("predictions.parquet") as file:
        table = pq.read_table(file)
    if "probabilities" not in table.column_names:
        return None
    rows = table.column("probabilities").combine_chunks()
    return {"probabilities": np.asarray(rows.flatten(), np.float32).reshape(len(rows), -1)}


def training_rows(snapshots: Sequence[Artifact]) -> Records | None:
    """The training part of the first snapshot that still has it."""
    for snapshot in snapshots:
        if any(part.name.startswith("train/") for part in snapshot.parts):
            found = snapshot / "train"
            assert isinstance(found, Records)
            return found
    return None


def judge_lossy(run: Run, rows: list[Row], tested: Tested | None) -> dict[str, Any]:
    """Give every lossy row its verdict and, by "engine precision", the figures behind it; what answers the canonical requests
    otherwise than the model is not asked the test records at all."""
    whole: dict[Pair, Row] = {}
    for row in rows:
        if row.get("precision") in LOSSY and "reason" not in row:
            before = whole.get(pair_of(row), row)
            whole[pair_of(row)] = {
                "difference": max(before.get("difference", 0.0), row["max_abs_difference"]),
                "agreement": min(before.get("agreement", 1.0), row["label_agreement"] if _all_asked(row, rows) else 1.0)}
    worth = [pair for pair, one in whole.items() if pair[1] == "bf16" or _alike(one, tested)]
    found = _Judge(run, tested).figures(worth) if tested and worth else {}
    for row in rows:
        if row.get("precision") not in LOSSY or "reason" in row:
            continue
        quality = found.get(" ".join(pair_of(row)))
        if row["precision"] != "bf16":
            allowed = whole[pair_of(row)]["difference"] * WIDER + SLACK
            row["tolerance"] = round(min(INT8_TOLERANCE_MAX, allowed), 6)
            row["passes"] = bool(quality and quality["passes"]) and row["max_abs_difference"] <= row["tolerance"]
        elif quality:
            row["passes"] = row["passes"] and quality["passes"]
    return found


def pair_of(row: Row) -> Pair:
    """The engine and precision of a row."""
    return row["engine"], row.get("precision", "fp32")


def _all_asked(row: Row, rows: Sequence[Row]) -> bool:
    """Whether this row answered all canonical requests; the others of its engine answered some again."""
    return bool(row["requests"] == max(one.get("requests", 0) for one in rows if pair_of(one) == pair_of(row)))


def _alike(one: Row, tested: Tested | None) -> bool:
    """Whether int8 answers the canonical requests as the model does: by labels where it has some, else by numbers."""
    labelled = tested is None or bool(tested.about.get("labels"))
    return bool(one["agreement"] >= AGREEMENT_MIN if labelled else one["difference"] <= NUMBER_TOLERANCE_MAX)


class _Judge:
    """The test records, asked of the model once and of every lighter form in stretches, until its interval tells."""

    def __init__(self, run: Run, tested: Tested) -> None:
        self.run, self.tested, self.about = run, tested, tested.about
        self.ids, self.truth = truth_of(tested.test, tested.about)
        self.encoder = load_encoder(tested.about["encoder"], tested.encoder)
        target = task_named(tested.about["task"]).target
        self.classes = target == "class"
        self.records = [] if self.classes else records_of(tested.test, tested.about)
        self.order = np.random.default_rng(tested.seed).permutation(len(self.ids))
        early = [len(self.ids) * part // 4 for part in LOOKS if self.classes]
        self.looks = [*(one for one in early if one >= EARLY_ROWS), len(self.ids)]

    def figures(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """By "engine precision" what it scores and by how much less than the model, on as many records as it took."""
        exact = self.tested.exact if self.tested.exact is not None else self._exact()
        if exact is None:
            return {}
        found = {}
        with self.run.progress("Judging precisions", "评判各精度", total=len(pairs) * len(self.ids)) as bar:
            for engine, precision in pairs:
                runtime = start(engine, self.tested.folder, self.about, cores(), precision)
                outputs, begin = Arrays(), 0
                for end in self.looks:
                    more = self._answered(runtime, self.order[begin:end], bar.advance)
                    outputs, begin = stacked([outputs, more]) if outputs else more, end
                    figure = self._figure(outputs, exact, self.order[:end], last=end == len(self.ids))
                    if figure["passes"] or figure.pop("hopeless"):
                        break
                bar.advance(len(self.ids) - begin)
                found[f"{engine} {precision}"] = {name: one for name, one in figure.items() if name != "hopeless"}
        return found

    def _exact(self) -> Arrays | None:
        """What the model itself gives for all test records; None where outputs alone do not tell its quality."""
        target = task_named(self.about["task"]).target
        if not self.classes and hasattr(import_module(f"mofang.judge.{JUDGES[target]}"), "ask"):
            return None
        runtime = start("onnx", self.tested.folder, self.about, cores())
        with self.run.progress("Answering", "作答中", total=len(self.ids)) as bar:
            return self._answered(runtime, np.arange(len(self.ids)), bar.advance)

    def _answered(self, runtime: Runtime, rows: Array, tick: Callable[[int], None]) -> Arrays:
        """The outputs for these places of the test records, in this order."""
        about, wanted = self.about, [one["name"] for one in self.about["inputs"]]
        specs = about["operators"][about["features"]["begin"]:] if "features" in about else []
        place = {int(row): number for number, row in enumerate(rows)}
        found, order, at = list[Arrays](), list[int](), 0
        for batch in RecordReader(self.tested.test).batches(BATCH_ROWS, columns=wanted):
            inside = [number for number in range(len(batch)) if at + number in place]
            if inside:
                raw = batch.rows(wanted)
                raw = [raw[number] for number in inside]
                arrays = self.encoder.encode(apply_operators(specs, raw) if specs else raw)
                found.append(run_graph(runtime, self.encoder, arrays))
                order += [place[at + number] for number in inside]
                tick(len(inside))
            at += len(batch)
        back = np.argsort(np.array(order, np.int64), kind="stable")
        return {name: array[back] for name, array in stacked(found).items()}

    def _figure(self, outputs: Arrays, exact: Arrays, rows: Array, *, last: bool) -> dict[str, Any]:
        """The headline figure on these rows, its paired difference to the model, and whether that says enough: an early look must
        be surer than the last one."""
        light, reference = self._weighed(outputs, rows), self._weighed({name: one[rows] for name, one in exact.items()}, rows)
        place = _places(reference).index(self.about["headline"])
        (own, _), paired = intervals([light, reference], len(rows), RESAMPLES, self.tested.seed)
        difference, spread = paired[place].to_dict(), 1.0 if last else EARLY
        low = difference["value"] - spread * (difference["value"] - difference["low"])
        high = difference["value"] + spread * (difference["high"] - difference["value"])
        return {"headline": self.about["headline"], "rows": len(rows), "of": len(self.ids), **_rounded(own[place].to_dict()),
                "difference": _rounded({"value": difference["value"], "low": low, "high": high}),
                "loss_max": self.tested.loss_max, "label_agreement": _agreement(light, reference),
                "passes": bool(low >= -self.tested.loss_max), "hopeless": bool(high < -self.tested.loss_max)}

    def _weighed(self, outputs: Arrays, rows: Array) -> Weighed:
        if self.classes:
            said = outputs["probabilities"]
            return Figures(self.truth[rows], said, chosen(list(self.about["labels"]), said, self.about.get("decide")))
        truth = self.truth[rows] if isinstance(self.truth, np.ndarray) else [self.truth[row] for row in rows]
        found = measured(self.about, truth, [self.records[row] for row in rows], outputs)
        assert found is not None
        return found


def _places(one: Any) -> list[str]:
    """The figures over all, in the order in which ``of`` gives them; others are left blank."""
    return list(OVERALL) if isinstance(one, Figures) else [name if not label else "" for name, label in one.names]


def _agreement(one: Any, other: Any) -> float:
    """The share of test records that get the same answer."""
    said, wanted = (each.predicted if isinstance(each, Figures) else each.answers for each in (one, other))
    same = [bool(a == b) for a, b in zip(list(said), list(wanted), strict=True)]
    return round(sum(same) / max(1, len(same)), 6)


def _rounded(figure: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figure.items()}


def _records(run: Run, given: dict[str, str]) -> Records | None:
    try:
        found = run.shop.artifact(run.shop.ledger.get(given["entry"]))
        for name in filter(None, given["within"].split("/")):
            found = found / name
        there = all(run.shop.store.has(part.digest) for part in found.parts)
    except MofangError:
        return None
    return found if there and isinstance(found, Records) else None
