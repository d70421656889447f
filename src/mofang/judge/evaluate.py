"""Evaluate an exported model on the test part, beside a baseline: the one place where the test part is
opened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.metrics import Interval, accuracy, confusion, macro_f1
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import RecordReader, Records
from mofang.engine.arrays import Array
from mofang.engine.decode.classes import chosen
from mofang.engine.task import task_named
from mofang.fit.answers import probabilities_of, truth_of
from mofang.fit.export import Graph
from mofang.judge.alone import alone, suspects
from mofang.judge.detection import detection
from mofang.judge.figures import OVERALL, PER_CLASS, Figures, intervals, names
from mofang.judge.targets import judged

EVALUATION_FORMAT = 1
MISTAKES = 5
SHOWN_CHARACTERS = 500


@holds_personal_data
class Evaluation(Artifact):
    """What a model scored on the test part: evaluation.json, predictions.parquet and mistakes.json."""

    kind = "evaluation"


@stage(version=2)
def evaluate(
    run: Run,
    graph: Graph,
    test: Records,
    baseline: Graph | None = None,
    *,
    resamples: Annotated[int, Field(ge=10, le=100_000)] = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure accuracy, precision, recall, F1, ROC-AUC and log loss on the test part.

    Every figure comes with its 95 % bootstrap interval; with a baseline, its figures stand beside and each
    difference has the interval of paired resamples. The exported graph itself is measured, not the network it
    came from. For two classes the report also counts what is found and falsely alarmed, of 100 each; for tables
    it names columns that alone tell as much as the whole model.

    Other targets have figures of their own, with the same intervals: exact spans (precision, recall, F1 as in CoNLL),
    answers (exact match, token F1), numbers (squared and absolute error, R2, rank correlation), and so on.
    """
    if task_named(graph.read_json("about.json")["task"]).target != "class":
        return _evaluate_target(run, [one for one in (graph, baseline) if one is not None], test, resamples, seed)
    abouts = [one.read_json("about.json") for one in (graph, baseline) if one is not None]
    about, labels, metric = abouts[0], list(abouts[0]["labels"]), abouts[0]["headline"]
    if abouts[-1]["labels"] != labels:
        others = ", ".join(abouts[-1]["labels"])
        raise MofangError("baseline-differs", labels=", ".join(labels), others=others)
    ids, truth = truth_of(test, about)
    graphs = [one for one in (graph, baseline) if one is not None]
    outputs = [probabilities_of(run, str(number), one, test, len(ids)) for number, one in enumerate(graphs)]
    answered = [chosen(labels, found, one.get("decide")) for one, found in zip(abouts, outputs, strict=True)]
    models = [Figures(truth, found, said) for found, said in zip(outputs, answered, strict=True)]
    with run.progress("Resampling", "重抽样", total=resamples) as bar:
        figures, paired = intervals(models, len(ids), resamples, seed, bar.advance)
    report: dict[str, Any] = {
        **_facts(about, truth),
        **_report(figures[0], labels),
        "resamples": resamples,
        "seed": seed,
        "confusion": models[0].confusion(),
    }
    report |= _beside(test, about, truth, answered[0], report["metrics"][metric]["value"])
    measures = {"metric": metric, "rows": len(ids), **report["metrics"][metric]}
    if paired:
        report["baseline"] = {"family": abouts[1]["family"], **_report(figures[1], labels)}
        report["baseline"]["decide"] = abouts[1].get("decide")
        report["difference"] = _report(paired, labels)["metrics"]
        measures["baseline"] = report["baseline"]["metrics"][metric]["value"]
        measures["difference"] = report["difference"][metric]
    run.write_json("evaluation.json", report)
    _write_predictions(run, ids, truth, outputs[0], answered[0], labels)
    run.write_json("mistakes.json", _mistakes(test, about, truth, outputs[0], answered[0]))
    run.measure(**measures)
    return run.result(Evaluation)


def _evaluate_target(run: Run, graphs: list[Graph], test: Records, resamples: int, seed: int) -> Evaluation:
    """The same for what is not one label: the figures come from the module of the task's target."""
    abouts = [one.read_json("about.json") for one in graphs]
    if (abouts[-1]["task"], abouts[-1]["labels"]) != (abouts[0]["task"], abouts[0]["labels"]):
        one, other = (", ".join(about["labels"]) or about["task"] for about in (abouts[0], abouts[-1]))
        raise MofangError("baseline-differs", labels=one, others=other)
    ids, records, models = judged(run, graphs, test)
    with run.progress("Resampling", "重抽样", total=resamples) as bar:
        figures, paired = intervals(models, len(ids), resamples, seed, bar.advance)
    metric, labels = abouts[0]["headline"], abouts[0]["labels"]
    report: dict[str, Any] = {
        "format": EVALUATION_FORMAT, **{name: abouts[0][name] for name in ("task", "family", "headline", "labels")},
        "target": task_named(abouts[0]["task"]).target, "rows": len(ids), "interval": "95 % bootstrap, percentile",
        **_named(models[0].names, figures[0], labels), "resamples": resamples, "seed": seed,
    }
    measures = {"metric": metric, "rows": len(ids), **report["metrics"][metric]}
    if paired:
        report["baseline"] = {"family": abouts[1]["family"], **_named(models[1].names, figures[1], labels), "decide": None}
        report["difference"] = _named(models[0].names, paired, labels)["metrics"]
        measures |= {"baseline": report["baseline"]["metrics"][metric]["value"], "difference": report["difference"][metric]}
    run.write_json("evaluation.json", report)
    with run.part("predictions.parquet") as path:
        table = {"id": ids, "label": models[0].truth, "predicted": models[0].answers}
        pq.write_table(pa.table(table), path, compression="zstd")
    run.write_json("mistakes.json", [
        {"record": _shortened(records[row]), "label": models[0].truth[row][:SHOWN_CHARACTERS],
         "predicted": models[0].answers[row][:SHOWN_CHARACTERS], "confidence": round(sure, 4)}
        for row, sure in models[0].mistakes()[:MISTAKES]
    ])
    run.measure(**measures)
    return run.result(Evaluation)


def _named(names: Sequence[tuple[str, str]], figures: Sequence[Interval], labels: Sequence[str]) -> dict[str, Any]:
    """Figures over all and for each label; what could not be computed is null."""
    overall: dict[str, Any] = {}
    classes: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for (name, label), interval in zip(names, figures, strict=True):
        into = classes[label] if label else overall
        into[name] = {key: None if math.isnan(one) else round(one, 6) for key, one in interval.to_dict().items()}
    return {"metrics": overall, "classes": classes}


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:SHOWN_CHARACTERS] if isinstance(value, str) else value for name, value in record.items()}


def _beside(test: Records, about: dict[str, Any], truth: Array, answered: Array, score: float) -> dict[str, Any]:
    """What is found and falsely alarmed, of two classes; which columns alone tell as much as the model, of a table."""
    report: dict[str, Any] = {}
    labels, metric = list(about["labels"]), about["headline"]
    if found := detection(labels, truth, answered, about.get("decide")):
        report["detection"] = found
    if lone := alone(test, about["inputs"], truth, len(labels), metric):
        constant = _constant(truth, len(labels), metric)
        report["alone"] = {"columns": lone, "constant": constant, "suspects": suspects(lone, score, constant)}
    return report


def _constant(truth: Array, classes: int, metric: str) -> float:
    """The headline of always answering the commonest class."""
    table = confusion(truth, np.full_like(truth, np.bincount(truth).argmax()), classes)
    return round(macro_f1(table) if metric == "f1_macro" else accuracy(table), 6)


def _facts(about: dict[str, Any], truth: Array) -> dict[str, Any]:
    """What was evaluated, and what always naming the largest class would score."""
    support = np.bincount(truth, minlength=len(about["labels"]))
    return {
        "format": EVALUATION_FORMAT,
        **{name: about[name] for name in ("task", "family", "headline", "labels")},
        "rows": len(truth),
        "interval": "95 % bootstrap, percentile",
        "support": support.tolist(),
        "majority_accuracy": float(support.max() / len(truth)),
    }


def _report(figures: Sequence[Interval], labels: Sequence[str]) -> dict[str, Any]:
    """Figures over all and for each class; what could not be computed is null."""
    overall: dict[str, Any] = {}
    classes: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for (name, place), interval in zip(names(len(labels)), figures, strict=True):
        value = {key: None if math.isnan(one) else round(one, 6) for key, one in interval.to_dict().items()}
        if place < 0:
            overall[name] = value
        else:
            classes[labels[place]][name] = value
    assert set(overall) == set(OVERALL) and all(set(one) == set(PER_CLASS) for one in classes.values())
    return {"metrics": overall, "classes": classes}


def _write_predictions(
    run: Run, ids: list[str], truth: Array, probabilities: Array, answered: Array, labels: Sequence[str]
) -> None:
    names_of = np.array(labels, dtype=object)
    table = pa.table(
        {
            "id": ids,
            "label": names_of[truth].tolist(),
            "predicted": names_of[answered].tolist(),
            "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        }
    )
    with run.part("predictions.parquet") as path:
        pq.write_table(table, path, compression="zstd")


def _mistakes(
    test: Records, about: dict[str, Any], truth: Array, probabilities: Array, predicted: Array
) -> list[dict[str, Any]]:
    """The most confident wrong answers, with their inputs shortened; an image is named by its file."""
    labels = about["labels"]
    confidence = np.where(predicted == truth, -1.0, probabilities[np.arange(len(truth)), predicted])
    worst = [int(row) for row in np.argsort(-confidence, kind="stable")[:MISTAKES] if confidence[row] >= 0]
    wanted = [one["name"] for one in about["inputs"]]
    shown: dict[int, dict[str, Any]] = {}
    first = 0
    for batch in RecordReader(test).batches(media=False, columns=wanted):
        for row in worst:
            if first <= row < first + len(batch):
                values = batch.take([row - first]).rows()[0]
                shown[row] = _shortened(values)
        first += len(batch)
    return [
        {
            "record": shown[row],
            "label": labels[truth[row]],
            "predicted": labels[predicted[row]],
            "confidence": round(float(confidence[row]), 4),
        }
        for row in worst
    ]
