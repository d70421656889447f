"""Compare two versions of a model on the same test records: better, worse, or cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.metrics import Interval
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.data.records import RecordReader, Records
from mofang.engine.decode.classes import chosen
from mofang.engine.task import task_named
from mofang.fit.answers import probabilities_of, truth_of
from mofang.fit.export import Graph
from mofang.judge.figures import OVERALL, Figures, Weighed, intervals
from mofang.judge.targets import judged

COMPARISON_FORMAT = 1


class Comparison(Artifact):
    """Two models on the same test records: comparison.json with both figures, their difference and the verdict."""

    kind = "comparison"


@stage(version=1)
def compare(
    run: Run,
    graph: Graph,
    previous: Graph,
    test: Records,
    *,
    resamples: Annotated[int, Field(ge=10, le=100_000)] = 1000,
    seed: int = 0,
) -> Comparison:
    """Ask a model and the one before it the same test records, and say which is better.

    The verdict follows from the 95 % interval of the paired difference in the new model's headline metric:
    "better" if all of it lies above zero, "worse" if all of it lies below, otherwise "cannot tell". Both models
    answer as they serve, each with its own threshold. Only models with equal labels, whose records were prepared
    alike, can be compared.
    """
    abouts = [one.read_json("about.json") for one in (graph, previous)]
    if reason := why_not(abouts[0], abouts[1]):
        raise MofangError("not-comparable", reason=reason)
    metric = abouts[0]["headline"]
    models, places, rows, otherwise = _models(run, (graph, previous), abouts, test)
    with run.progress("Resampling", "重抽样", total=resamples) as bar:
        figures, paired = intervals(models, rows, resamples, seed, bar.advance)
    place = places.index(metric)
    difference = _rounded(paired[place])
    report = {
        "format": COMPARISON_FORMAT,
        "metric": metric,
        "rows": rows,
        "interval": "95 % bootstrap of the paired difference, percentile",
        "new": _rounded(figures[0][place]),
        "previous": _rounded(figures[1][place]),
        "difference": difference,
        "answered_otherwise": otherwise,
        "verdict": verdict(difference),
        "resamples": resamples,
        "seed": seed,
    }
    run.write_json("comparison.json", report)
    run.measure(metric=metric, verdict=report["verdict"], difference=difference)
    return run.result(Comparison)


def _models(
    run: Run, graphs: Sequence[Graph], abouts: Sequence[dict[str, Any]], test: Records
) -> tuple[list[Weighed], list[str], int, int]:
    """Both models measured, the figures' names over all, the rows, and on how many the models say something else."""
    if task_named(abouts[0]["task"]).target != "class":
        ids, _, found = judged(run, graphs, test)
        otherwise = sum(one != other for one, other in zip(found[0].answers, found[1].answers, strict=True))
        return list(found), [name for name, _ in found[0].names], len(ids), otherwise
    labels = list(abouts[0]["labels"])
    ids, truth = truth_of(test, abouts[0])
    truth_of(test, abouts[1])
    outputs = [probabilities_of(run, str(number), one, test, len(ids)) for number, one in enumerate(graphs)]
    models = [Figures(truth, found, chosen(labels, found, about.get("decide")))
              for found, about in zip(outputs, abouts, strict=True)]
    return list(models), list(OVERALL), len(ids), int((models[0].predicted != models[1].predicted).sum())


def verdict(difference: Mapping[str, float]) -> str:
    """In one word, from the interval of a difference."""
    return "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "cannot tell"


def why_not(about: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Why two models cannot be compared on the same records; "" if they can."""
    if about["task"] != before["task"] or list(about["labels"]) != list(before["labels"]):
        return "labels"
    if about["label"] != before["label"] or not _names(before) <= _names(about):
        return "columns"
    return "preparation" if _prepared(about) != _prepared(before) else ""


def trained_on(shop: Shop, test: Records, previous: Artifact) -> int:
    """How many of the test records an earlier model (its package or graph) saw in training; a comparison on those would
    flatter it."""
    snapshot = shop.ancestor(previous.entry, "snapshot")
    if snapshot is None:
        return 0
    tested = set(_ids(test))
    return sum(one in tested for part in ("train", "validation") for one in _ids(snapshot / part))


def _ids(records: Artifact) -> Iterator[str]:
    for batch in RecordReader(records).batches(media=False, columns=[]):
        yield from batch.column("id")


def _prepared(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the records were cleaned; features do not count, because each model makes its own of the raw columns."""
    operators: list[dict[str, Any]] = about.get("operators", [])
    return operators[: about["features"]["begin"]] if "features" in about else operators


def _names(about: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(one["name"], one["role"]) for one in about["inputs"]}


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 6) for name, value in interval.to_dict().items()}
