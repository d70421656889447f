"""What a lighter precision costs, on the evaluation's own test part: its headline figure, and the paired difference to the
model as it was trained, with the interval of that difference.

A precision that loses something serves only where the whole interval of its difference lies above the loss that was
allowed. Without test records here nothing can be said of int8, so it is not used; bfloat16 may still pass by its arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.data.records import Records
from mofang.engine.arrays import Arrays
from mofang.engine.decode.classes import chosen
from mofang.engine.machine import cores
from mofang.engine.measure import INT8_TOLERANCE_MAX, Row, start
from mofang.engine.runtimes import LOSSY
from mofang.engine.task import task_named
from mofang.fit.answers import answers_of, truth_of
from mofang.judge.figures import OVERALL, Figures, Weighed, intervals
from mofang.judge.targets import measured, records_of

RESAMPLES = 500
SLACK, WIDER = 5e-3, 1.5   # int8 may stray so much further at a load than it did on all canonical requests here
PART = "test"


@dataclass(frozen=True)
class Tested:
    """What a precision is judged by: the graph's folder, its encoder's files, and the test records."""

    folder: Path
    about: dict[str, Any]
    encoder: dict[str, bytes]
    test: Records
    loss_max: float
    seed: int


def test_behind(run: Run, evaluation: Artifact) -> Records | None:
    """The test records that an evaluation was made on; None where they are no longer in this shop."""
    for given in run.shop.ledger.get(evaluation.entry).body.get("inputs", []):
        if given["kind"] == Records.kind:
            return _records(run, given)
    return None


def training_rows(snapshots: Sequence[Artifact]) -> Records | None:
    """The training part of the first snapshot that still has it."""
    for snapshot in snapshots:
        if any(part.name.startswith("train/") for part in snapshot.parts):
            found = snapshot / "train"
            assert isinstance(found, Records)
            return found
    return None


def judge_lossy(run: Run, rows: list[Row], tested: Tested | None) -> dict[str, Any]:
    """Give every lossy row its verdict and, by "engine precision", the figures behind it; what strays too far from the model on
    the canonical requests is not asked the test records at all."""
    worst: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.get("precision") in LOSSY and "reason" not in row:
            pair = (row["engine"], row["precision"])
            worst[pair] = max(worst.get(pair, 0.0), row["max_abs_difference"])
    allowed = {pair: round(most * WIDER + SLACK, 6) for pair, most in worst.items()}
    pairs = [pair for pair in worst if pair[1] == "bf16" or allowed[pair] <= INT8_TOLERANCE_MAX]
    found = _figures(run, pairs, tested) if tested and pairs else {}
    for row in rows:
        if row.get("precision") not in LOSSY or "reason" in row:
            continue
        quality = found.get(f"{row['engine']} {row['precision']}")
        if row["precision"] != "bf16":
            row["tolerance"] = allowed[row["engine"], row["precision"]]
            row["passes"] = bool(quality and quality["passes"]) and row["tolerance"] <= INT8_TOLERANCE_MAX
        elif quality:
            row["passes"] = row["passes"] and quality["passes"]
    return found


def _figures(run: Run, pairs: Sequence[tuple[str, str]], tested: Tested) -> dict[str, Any]:
    about = tested.about
    ids, truth = truth_of(tested.test, about)
    records = records_of(tested.test, about) if task_named(about["task"]).target != "class" else []

    def weighed(outputs: Arrays) -> Weighed | None:
        if task_named(about["task"]).target == "class":
            said = outputs["probabilities"]
            return Figures(truth, said, chosen(list(about["labels"]), said, about.get("decide")))
        return measured(about, truth, records, outputs)

    def answered(engine: str, precision: str) -> Arrays:
        runtime = start(engine, tested.folder, about, cores(), precision)
        return answers_of(run, tested.folder, about, tested.encoder, tested.test, len(ids), runtime)

    exact = answered("onnx", "fp32")
    reference = weighed(exact)
    if reference is None:
        return {}
    place, found = _places(reference).index(about["headline"]), dict[str, Any]()
    for engine, precision in pairs:
        outputs = answered(engine, precision)
        light = weighed(outputs)
        assert light is not None
        (own, _), paired = intervals([light, reference], len(ids), RESAMPLES, tested.seed)
        difference = paired[place].to_dict()
        found[f"{engine} {precision}"] = {
            "headline": about["headline"], "rows": len(ids), **_rounded(own[place].to_dict()),
            "difference": _rounded(difference), "loss_max": tested.loss_max,
            "label_agreement": _agreement(light, reference), "passes": bool(difference["low"] >= -tested.loss_max)}
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
