"""What a model that was just fitted, or an older one, answers to records: through its graph, as it would when it serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record, load_encoder
from mofang.engine.graphs import NUMBER, OUTPUT
from mofang.engine.outputs import Gathers, graph_arrays
from mofang.fit.family import Family, Fitted
from mofang.fit.loop.machine import threads
from mofang.fit.material import Material

if TYPE_CHECKING:
    from mofang.fit.train import Model

ASKED_ROWS = 64
WARM = 3  # records asked before the clock counts


def fitted_answers(family: Family, fitted: Fitted, material: Material, records: Sequence[Record]) -> Array:
    """Answers float32 [N, K] of a model that was just fitted."""
    graph = family.graph(fitted.weights, fitted.architecture, graph_arrays(fitted.sample))
    return graph_answers(graph, fitted.encoder, records, output_of(material))


def model_answers(model: Model, material: Material, records: Sequence[Record]) -> Array:
    """Answers float32 [N, K] of a trained model; ``teacher-differs`` where it answers another question."""
    about = model.read_json("about.json")
    asked = {"task": material.task, "labels": list(material.labels), "inputs": [one["name"] for one in material.inputs]}
    says = {"task": about["task"], "labels": list(about["labels"]), "inputs": [one["name"] for one in about["inputs"]]}
    if asked != says:
        differing = ", ".join(name for name in asked if asked[name] != says[name])
        raise MofangError("teacher-differs", what=differing)
    graph, encoder = model_graph(model)
    return graph_answers(graph, encoder, records, output_of(material))


def model_graph(model: Model) -> tuple[bytes, Encoder]:
    """A trained model as ONNX, and its encoder."""
    from safetensors.numpy import load

    from mofang.fit.train import SAMPLE

    about = model.read_json("about.json")
    with model.open(SAMPLE) as file:
        stored = load(file.read())
    sample = {name.removeprefix("input/"): array for name, array in stored.items() if name.startswith("input/")}
    weights = {name: model.path(name).read_bytes() for name in about["weights"]}
    graph = Family.parse(about["family"]).graph(weights, about["architecture"], graph_arrays(sample))
    inside = [part.name for part in model.parts if part.name.startswith("encoder/")]
    files = {name.removeprefix("encoder/"): model.path(name).read_bytes() for name in inside}
    return graph, load_encoder(about["encoder"], files)


def weigh(model: Model, records: Sequence[Record]) -> dict[str, float]:
    """What a model costs to keep and to ask: {"size_bytes", "answer_ms"}, the median of single records on one thread."""
    import onnxruntime

    graph, encoder = model_graph(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    spent = []
    for record in [*records[:WARM], *records]:
        began = time.perf_counter()
        session.run(None, graph_arrays(encoder.encode([record])))
        spent.append(time.perf_counter() - began)
    size = len(graph) + sum(part.size_bytes for part in model.parts if part.name.startswith("encoder/"))
    return {"size_bytes": size, "answer_ms": round(float(np.median(spent[WARM:])) * 1e3, 4)}


def output_of(material: Material) -> str:
    """The graph's output for this task."""
    return NUMBER if material.target == "number" else OUTPUT


def graph_answers(graph: bytes, encoder: Encoder, records: Sequence[Record], output: str) -> Array:
    """One output of a graph on records, float32 [N, K]; records of similar length are asked together."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads(), 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    order = np.argsort([sum(len(str(value or "")) for value in record.values()) for record in records], kind="stable")
    found = []
    for start in range(0, len(order), ASKED_ROWS):
        arrays = encoder.encode([records[place] for place in order[start : start + ASKED_ROWS]])
        outputs: Arrays = {output: session.run([output], graph_arrays(arrays))[0]}
        found.append((encoder.gather(arrays, outputs) if isinstance(encoder, Gathers) else outputs)[output])
    stacked = np.concatenate(found)
    made = np.empty_like(stacked)
    made[order] = stacked
    return made
