"""What a package holds besides the graph that answers: the model as it was trained, a torch program, the schemas of a request
and an answer, and the evaluation's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mofang.core.artifact import Artifact
from mofang.core.canonical import canonical, sha256
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.engine.predictor import TORCH, Predictor
from mofang.fit.export import split_sample
from mofang.fit.family import Family
from mofang.fit.replayed import ANSWERED, ASKED
from mofang.fit.train import SAMPLE, Model

Format = Literal["onnx", "safetensors", "torch"]

GRAPH, ENCODER, WEIGHTS = "graph/", "encoder/", "weights/"
SCHEMA, EVIDENCE = "schema.json", "evaluation.json"
LEFT_OUT = ("about.json", ASKED, ANSWERED)  # a package writes its own


class Contents:
    """The parts of a package as they are written, with the digest of each for package.json."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.files: dict[str, str] = {}

    def copy(self, name: str, artifact: Artifact, part: str) -> None:
        """Take a part over as it is."""
        held = artifact.part(part)
        self.run.copy(name, held)
        self.files[name] = held.digest

    def write(self, name: str, data: bytes) -> None:
        """A part from bytes."""
        self.run.write_bytes(name, data)
        self.files[name] = sha256(data)

    def write_json(self, name: str, value: Any) -> None:
        """A part from what JSON can say."""
        self.write(name, canonical(value))


def model_behind(run: Run, graph: Artifact) -> Model | None:
    """The trained model that a graph was exported from, if it is still whole in this shop."""
    found = run.shop.ancestor(graph.entry, Model.kind)
    whole = isinstance(found, Model) and all(run.shop.store.has(part.digest) for part in found.parts)
    return found if whole and isinstance(found, Model) else None


def take_graph(contents: Contents, graph: Artifact, extra: Mapping[str, bytes]) -> None:
    """The graph with its encoder, and the lighter forms that serve."""
    for part in graph.parts:
        if part.name in LEFT_OUT or part.name.startswith(WEIGHTS):
            continue
        name = part.name if part.name.startswith(ENCODER) else GRAPH + part.name
        contents.copy(name, graph, part.name)
    for name, data in extra.items():
        contents.write(GRAPH + name, data)


def take_weights(contents: Contents, graph: Artifact, model: Model | None) -> bool:
    """The weights as they were trained, with the settings and the architecture that they fit; False where there are none."""
    there = [part.name for part in graph.parts if part.name.startswith(WEIGHTS)]  # of a model that came from elsewhere
    for name in there:
        contents.copy(name, graph, name)
    if there or model is None:
        return bool(there)
    about = model.read_json("about.json")
    for name in about["weights"]:
        contents.copy(WEIGHTS + name, model, name)
    contents.write_json(WEIGHTS + "config.json", {name: about[name] for name in ("task", "family", "architecture", "labels")})
    return True


def torch_files(run: Run, model: Model | None, family: str) -> dict[str, bytes]:
    """The model as a program of torch.export; raises ``format-not-made`` where it is none or its rows were erased."""
    from safetensors.numpy import load

    from mofang.fit.program import torch_program

    if model is None:
        raise MofangError("format-not-made", format="torch", family=family)
    about = model.read_json("about.json")
    with model.open(SAMPLE) as file:
        sample, _ = split_sample(load(file.read()))
    if len(next(iter(sample.values()))) < 2:
        raise MofangError("export-sample-erased")
    weights = {name: model.path(name).read_bytes() for name in about["weights"]}
    with run.progress("Exporting for torch", "导出 torch 程序"):
        found = torch_program(Family.parse(about["family"]), weights, about["architecture"], sample)
    if not found:
        raise MofangError("format-not-made", format="torch", family=family)
    return found


def take_torch(contents: Contents, files: Mapping[str, bytes]) -> None:
    """The program under its own folder."""
    for name, data in files.items():
        contents.write(TORCH + name, data)


def schemas(predictor: Predictor) -> dict[str, Any]:
    """What a request holds and what an answer says, as JSON Schema (2020-12), with the unit that is billed."""
    task, signature = predictor.task, predictor.signature
    return {"task": task.name, "unit": task.unit, "inputs": signature["inputs"], "labels": signature["labels"],
            "request": task.request_schema(signature), "answer": task.answer_schema(signature)}


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a buyer asks first, out of the evaluation: rows, the figures with intervals, the baseline's beside
    them."""
    beside: dict[str, Any] = {name: report[name] for name in ("difference", "detection") if name in report}
    if "baseline" in report:
        beside["baseline"] = {name: report["baseline"][name] for name in ("family", "metrics")}
    return {name: report[name] for name in ("headline", "rows", "interval", "metrics")} | beside
