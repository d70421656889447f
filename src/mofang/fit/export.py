"""Turn a trained model into a graph that any engine can run, and prove that both give the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import Records
from mofang.engine.arrays import Array, Arrays
from mofang.engine.outputs import graph_arrays
from mofang.engine.task import task_named
from mofang.fit.answers import answers_of, truth_of
from mofang.fit.family import Family
from mofang.fit.replayed import captured_graph, check_canonical
from mofang.fit.threshold import choose_threshold
from mofang.fit.train import SAMPLE, VALIDATION, Model

GRAPH_FORMAT, PLAIN_FORMAT = 2, 1  # with a threshold, and without
DIFFERENCE_MAX = 1e-4
SINGLE_ROWS = 8
MASKS = ("weights", "attention_mask")
CARRIED = (
    "task",
    "inputs",
    "label",
    "labels",
    "operators",
    "headline",
    "family",
    "encoder",
    "licences",
    "base_model",
)
OPTIONAL = ("features",)


class Graph(Artifact):
    """A model as ONNX with what it takes to use it: model.onnx, ``encoder/``, about.json, and model.ubj for
    trees.
    """

    kind = "graph"


@stage(version=3)
def export(
    run: Run,
    model: Model,
    validation: Records | None = None,
    *,
    miss_cost: Annotated[float, Field(ge=0)] = 0.0,
) -> Graph:
    """Export a model as an ONNX graph whose answers equal the trained model's own.

    The graph runs on rows of the validation part, all at once and one by one, and must give the probabilities (or what
    else the task's model gives) that the model gave when it was trained, to 1e-4; and it must answer up to 1,000 made-up
    canonical requests as the trained model does. Otherwise nothing is exported.

    For two unequal classes a threshold is chosen on ``validation`` (left out: on the model's own validation
    answers), from which on the rarer class is answered. ``miss_cost`` says how many false alarms a miss costs,
    and the threshold with the least cost is taken; 0 takes the one with the best macro-F1. Two equal classes
    get a threshold only where ``miss_cost`` is given; otherwise the likelier label is answered.
    """
    from safetensors.numpy import load

    about = model.read_json("about.json")
    family = Family.parse(about["family"])
    with model.open(SAMPLE) as file:
        stored = load(file.read())
    sample, expected = split_sample(stored)
    if not len(next(iter(expected.values()))):
        raise MofangError("export-sample-erased")
    weights = {name: model.path(name).read_bytes() for name in about["weights"]}
    graph, answers, multiplied = captured_graph(family, weights, about["architecture"], sample)
    writes = task_named(about["task"]).target == "text"  # its canonical requests are asked where its decoder is made
    with run.part("model.onnx") as path:
        path.write_bytes(graph)
        evidence = compare(path, sample, expected)
        if evidence["max_abs_difference"] > DIFFERENCE_MAX:
            raise MofangError("export-differs", difference=f"{evidence['max_abs_difference']:.2g}", limit=DIFFERENCE_MAX)
        if not writes:
            files = {part.name.removeprefix("encoder/"): model.path(part.name).read_bytes() for part in model.parts
                     if part.name.startswith("encoder/")}
            evidence["canonical"] = check_canonical(run, about, files, path, answers, multiplied, DIFFERENCE_MAX)
    kept = about["weights"] if writes else ()  # writing takes more than one graph
    for part in model.parts:
        if part.name.startswith("encoder/") or part.name == "model.ubj" or part.name in kept:
            run.copy(part.name, part)
    written: dict[str, Any] = {
        "format": PLAIN_FORMAT,
        **{name: about[name] for name in (*CARRIED, *(one for one in OPTIONAL if one in about))},
        "parity": evidence,
        **({"architecture": about["architecture"]} if kept else {}),
    }
    if "thresholds" in about["architecture"]:
        written["thresholds"] = about["architecture"]["thresholds"]
    pair = len(about["labels"]) == 2 and task_named(about["task"]).target == "class"
    if pair and (miss_cost or about["headline"] == "f1_macro"):
        truth, found = _validated(run, model, about, graph, validation)
        written |= {"format": GRAPH_FORMAT, "decide": choose_threshold(about["labels"], truth, found, miss_cost)}
        run.measure(**{name: value for name, value in written["decide"].items() if name != "positive"})
    run.write_json("about.json", written)
    shown = {name: value for name, value in evidence.items() if name != "canonical"}
    run.measure(size_bytes=len(graph), requests=evidence.get("canonical", {}).get("requests", 0), **shown)
    return run.result(Graph)


def _validated(
    run: Run, model: Model, about: Mapping[str, Any], graph: bytes, validation: Records | None
) -> tuple[Array, Array]:
    """True classes int64 [N] and the model's probabilities [N, 2] on the rows that choose the threshold."""
    if validation is None:
        import pyarrow.parquet as pq

        places = {label: place for place, label in enumerate(about["labels"])}
        with model.open(VALIDATION) as file:
            table = pq.read_table(file, columns=["label", "probabilities"], use_threads=False, pre_buffer=False).to_pydict()
        truth = np.array([places[label] for label in table["label"]], dtype=np.int64)
        return truth, np.array(table["probabilities"], dtype=np.float32).reshape(len(truth), -1)
    ids, truth = truth_of(validation, dict(about))
    folder = run.scratch / "threshold"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(graph)
    inside = [part.name for part in model.parts if part.name.startswith("encoder/")]
    files = {name.removeprefix("encoder/"): model.path(name).read_bytes() for name in inside}
    return truth, answers_of(run, folder, dict(about), files, validation, len(ids))["probabilities"]


def split_sample(stored: Arrays) -> tuple[Arrays, Arrays]:
    """The sample's arrays that the graph reads, and the outputs that it must give for them."""
    inside = {name.removeprefix("input/"): array for name, array in stored.items() if name.startswith("input/")}
    return graph_arrays(inside), {name: array for name, array in stored.items() if not name.startswith("input/")}


def compare(graph: Path, sample: Arrays, expected: Arrays) -> dict[str, Any]:
    """How far the graph's outputs are from the expected ones, rows together and singly, unpadded; outputs that are no
    probabilities are measured against their own size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    names = sorted(expected)
    wanted = [expected[name] for name in names]
    rows = len(wanted[0])
    scales = [1.0 if name == "probabilities" else max(1.0, float(np.abs(one).max(initial=0.0)))
              for name, one in zip(names, wanted, strict=True)]
    together = session.run(names, sample)
    differences = [_apart(*pair) / scale for *pair, scale in zip(together, wanted, scales, strict=True)]
    for row in range(min(SINGLE_ROWS, rows)):
        alone = session.run(names, _one(sample, row))
        differences += [_apart(found[0], _cut(whole[row], found[0])) / scale
                        for found, whole, scale in zip(alone, wanted, scales, strict=True)]
    shown = {}
    if "probabilities" in expected:
        found, one = together[names.index("probabilities")], expected["probabilities"]
        shown["label_agreement"] = float((found.argmax(axis=-1) == one.argmax(axis=-1)).mean())
    return {"rows": rows, "max_abs_difference": float(max(differences)), **shown}


def _apart(found: Array, wanted: Array) -> float:
    """The largest difference; a value that is no number is infinitely far."""
    difference = float(np.abs(found - wanted).max(initial=0.0))
    return difference if difference == difference else float("inf")


def _cut(wanted: Array, found: Array) -> Array:
    """What is expected of a row that was run without its padding."""
    return wanted[tuple(slice(length) for length in found.shape)]


def _one(sample: Arrays, row: int) -> Arrays:
    """One row alone, cut to its own length where it is padded."""
    found = {name: array[row : row + 1] for name, array in sample.items()}
    for mask in MASKS:
        if mask in found:
            width = found[mask].shape[1]
            length = int(np.flatnonzero(found[mask][0]).max(initial=0)) + 1
            return {name: array[:, :length] if array.shape[1:2] == (width,) else array for name, array in found.items()}
    return found
