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
from mofang.fit.answers import answers_of, truth_of
from mofang.fit.family import Family
from mofang.fit.threshold import choose_threshold
from mofang.fit.train import SAMPLE, VALIDATION, Model

GRAPH_FORMAT, PLAIN_FORMAT = 2, 1  # with a threshold, and without
DIFFERENCE_MAX = 1e-4
SINGLE_ROWS = 8
MASKS = {"weights": "ids", "attention_mask": "input_ids"}
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


@stage(version=2)
def export(
    run: Run,
    model: Model,
    validation: Records | None = None,
    *,
    miss_cost: Annotated[float, Field(ge=0)] = 0.0,
) -> Graph:
    """Export a model as an ONNX graph whose answers equal the trained model's own.

    The graph runs on rows of the validation part, all at once and one by one, and must give the probabilities
    that the model gave when it was trained, to 1e-4; otherwise nothing is exported.

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
    if not len(stored["probabilities"]):
        raise MofangError("export-sample-erased")
    sample = {
        name.removeprefix("input/"): array for name, array in stored.items() if name.startswith("input/")
    }
    weights = {name: model.path(name).read_bytes() for name in about["weights"]}
    graph = family.graph(weights, about["architecture"], sample)
    with run.part("model.onnx") as path:
        path.write_bytes(graph)
        evidence = compare(path, sample, stored["probabilities"])
    if evidence["max_abs_difference"] > DIFFERENCE_MAX:
        raise MofangError(
            "export-differs", difference=f"{evidence['max_abs_difference']:.2g}", limit=DIFFERENCE_MAX
        )
    for part in model.parts:
        if part.name.startswith("encoder/") or part.name == "model.ubj":
            run.copy(part.name, part)
    written: dict[str, Any] = {
        "format": PLAIN_FORMAT,
        **{name: about[name] for name in (*CARRIED, *(one for one in OPTIONAL if one in about))},
        "parity": evidence,
    }
    if len(about["labels"]) == 2 and (miss_cost or about["headline"] == "f1_macro"):
        truth, found = _validated(run, model, about, graph, validation)
        written |= {"format": GRAPH_FORMAT, "decide": choose_threshold(about["labels"], truth, found, miss_cost)}
        run.measure(**{name: value for name, value in written["decide"].items() if name != "positive"})
    run.write_json("about.json", written)
    run.measure(size_bytes=len(graph), **evidence)
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
    return truth, answers_of(run, folder, dict(about), files, validation, len(ids))


def compare(graph: Path, sample: Arrays, expected: Array) -> dict[str, Any]:
    """How far the graph's probabilities are from the expected ones, rows together and singly, unpadded."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    together = session.run(["probabilities"], sample)[0]
    count = min(SINGLE_ROWS, len(expected))
    singly = [session.run(["probabilities"], _one(sample, row))[0] for row in range(count)]
    differences = [np.abs(together - expected).max(initial=0.0)]
    differences += [np.abs(found[0] - wanted).max() for found, wanted in zip(singly, expected, strict=False)]
    agreement = (together.argmax(axis=1) == expected.argmax(axis=1)).mean()
    return {
        "rows": len(expected),
        "max_abs_difference": float(max(differences)),
        "label_agreement": float(agreement),
    }


def _one(sample: Arrays, row: int) -> Arrays:
    """One row alone, cut to its own length where it is padded."""
    found = {name: array[row : row + 1] for name, array in sample.items()}
    for mask, values in MASKS.items():
        if mask in found:
            length = max(1, int((found[mask] != 0).sum()))
            return {mask: found[mask][:, :length], values: found[values][:, :length]}
    return found
