"""Package a graph: measure the engines of this machine, prove that they answer alike, and write down the
evidence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import Field

from mofang.core.ancestry import cut
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.collecting.provenance import united
from mofang.engine.arrays import Arrays
from mofang.engine.graphfile import DATA
from mofang.engine.machine import machine_facts
from mofang.engine.measure import BATCHES, CHILD, TOLERANCE, Objective, Row, answer_all, cores, measure, planned, start
from mofang.engine.outputs import graph_arrays
from mofang.engine.predictor import PACKAGE_FORMAT, REPLAYED, Package, Predictor
from mofang.engine.replay import canonical_lines
from mofang.engine.task import task_named
from mofang.fit.export import Graph
from mofang.judge.evaluate import Evaluation
from mofang.serve.card import model_card
from mofang.serve.contents import (
    EVIDENCE,
    LEFT_OUT,
    SCHEMA,
    Contents,
    Format,
    figures_of,
    model_behind,
    schemas,
    take_graph,
    take_torch,
    take_weights,
    torch_files,
)
from mofang.serve.lossy import Tested, judge_lossy, kept_answers, test_behind, training_rows
from mofang.serve.parity import (
    check_features,
    check_lineage,
    check_tokens,
    gate,
    snapshots_behind,
    sources_said,
    wanted_answers,
)
from mofang.serve.quantise import CALIBRATION, WEIGHTS_MIN, product_weights, quantising

CARRIED = ("task", "inputs", "features", "labels", "decide", "thresholds", "headline", "operators", "encoder", "family",
           "base_model", "adopted")
CANONICAL_BYTES_MAX = 8_000_000  # of canonical requests that travel; all were asked, and the first of them are carried
PACKERS = {"text": "mofang.serve.generators:pack"}  # the target of a task whose packages are made elsewhere: "module:function"

Packer = Callable[..., Package]


@dataclass(frozen=True)
class Settings:
    """How to package."""

    objective: Objective
    seconds: float
    requests: int
    precisions: tuple[str, ...]
    loss_max: float
    formats: tuple[str, ...]
    seed: int


@stage(version=5, keyed_on="references", depends="machine")
def package(run: Run, graph: Graph, evaluation: Evaluation | None = None, *, objective: Objective = "throughput",
            seconds: Annotated[float, Field(gt=0, le=10)] = 0.2,
            requests: Annotated[int, Field(ge=16, le=1000)] = 1000,
            precisions: tuple[Literal["fp32", "bf16", "int8", "int4"], ...] = ("fp32", "bf16", "int8", "int4"),
            loss_max: Annotated[float, Field(ge=0, le=1)] = 0.01,
            formats: tuple[Format, ...] = ("onnx", "safetensors"), seed: int = 0) -> Package:
    """Make a model ready to serve: the fastest engine and precision on this machine that give the model's own answers.

    Every engine answers made-up canonical requests and is timed at several batch sizes, threads and calls at a time. At
    full precision a probability may differ by 1e-4 and no label may change, with bf16 by 2e-2. int8 is tried on models with
    enough to multiply; it serves only where its headline figure on the evaluation's test part loses less than ``loss_max``
    with 95 % confidence, and where it is at least 1.2 times as fast. ``formats`` says what besides lies in the package: the
    trained weights (safetensors), a torch.export program (torch). A generator is tried at int8 and int4 too; what loses more
    than ``loss_max`` in bits per byte of validation answers does not serve.
    """
    about = graph.read_json("about.json")
    chosen = Settings(objective, seconds, requests, precisions, loss_max, formats, seed)
    target = task_named(about["task"]).target
    if target in PACKERS:
        return packer_of(target)(run, graph, evaluation, chosen)
    check_lineage(run.shop, graph.entry, about.get("operators", []))
    check_features(about)
    made = _Made(run, graph, about, chosen)
    made.measure(evaluation)
    return made.written(evaluation)


def packer_of(target: str) -> Packer:
    """The function that packages models of this target."""
    module, _, name = PACKERS[target].partition(":")
    return cast(Packer, getattr(import_module(module), name))


class _Made:
    """One package on its way: the graph laid out, its requests, its table."""

    def __init__(self, run: Run, graph: Graph, about: dict[str, Any], chosen: Settings) -> None:
        self.run, self.graph, self.about, self.chosen = run, graph, about, chosen
        self.model = model_behind(run, graph)
        self.predictor = Predictor(graph)
        self.tokens = check_tokens(self.predictor.encoder, self.model)
        self.folder = run.scratch / "graph"
        graph.lay_out(self.folder)
        self.records, self.expected, self.source = wanted_answers(graph, self.folder, self.predictor, chosen.requests,
                                                                  chosen.seed)
        self.torch = torch_files(run, self.model, str(about["family"]["tag"])) if "torch" in chosen.formats else {}
        for name, data in self.torch.items():
            (self.folder / name).write_bytes(data)
        self.reasons: dict[str, str] = {}
        self.quality: dict[str, Any] = {}
        self.rows: list[Row] = []
        self.engine: Row = {}

    def measure(self, evaluation: Artifact | None) -> None:
        """The table, the verdict on what loses something, and the choice."""
        precisions, ahead = self._precisions()
        total = len(planned(self.folder, precisions)) * len(BATCHES)
        with self.run.progress("Measuring engines", "测量引擎", total=total) as bar:
            self.rows = measure(self.folder, self.about, self.records, self.predictor.encode, self.expected,
                                encoder=self.predictor.encoder, seconds=self.chosen.seconds, precisions=precisions,
                                ahead=ahead, tick=bar.advance)
        test = test_behind(self.run, evaluation) if evaluation else None
        encoder = {part.name.removeprefix("encoder/"): self.graph.path(part.name).read_bytes()
                   for part in self.graph.parts if part.name.startswith("encoder/")}
        exact = kept_answers(self.run, evaluation, self.graph) if evaluation else None
        tested = Tested(self.folder, self.about, encoder, test, self.chosen.loss_max, self.chosen.seed, exact) if test else None
        self.quality = judge_lossy(self.run, self.rows, tested)
        self.engine = gate(self.rows, self.chosen.objective)

    def _precisions(self) -> tuple[tuple[str, ...], dict[tuple[str, str], Arrays]]:
        """Full precision, and of a model with enough to multiply the lighter ones, whose files are made here; and what the others
        answered meanwhile."""
        lighter = set(self.chosen.precisions) & {"bf16", "int8"}
        apart = (self.folder / f"model.onnx{DATA}").exists()  # too large for what makes lighter forms
        if not lighter or apart or product_weights(self.folder / "model.onnx") < WEIGHTS_MIN:
            return ("fp32",), {}
        ahead: dict[tuple[str, str], Arrays] = {}
        if "int8" in lighter:
            with quantising(self.run, self.folder, self._calibration()) as self.reasons:
                ahead = self._ahead(["fp32", *(lighter & {"bf16"})])
        return tuple(one for one in ("fp32", "bf16", "int8") if one == "fp32" or one in lighter), ahead

    def _ahead(self, precisions: list[str]) -> dict[tuple[str, str], Arrays]:
        """What each engine answers to all canonical requests on one core, while the other one is taken."""
        pairs = [pair for pair in dict.fromkeys(one[:2] for one in planned(self.folder, precisions)) if pair[0] != CHILD]
        found = {}
        with self.run.progress("Asking canonical requests", "核对标准请求", total=len(pairs) * len(self.records)) as bar:
            for name, precision in pairs:
                with contextlib.suppress(MofangError):  # the table gives the reason
                    engine = start(name, self.folder, self.about, max(1, cores() - 1), precision)
                    found[name, precision] = answer_all(engine, self.records, self.predictor.encode, self.predictor.encoder,
                                                        tick=bar.advance)
        return found

    def _calibration(self) -> list[Arrays]:
        """Arrays of training rows where they are still here, else of canonical requests."""
        rows = training_rows(snapshots_behind(self.run.shop, self.graph.entry))
        if rows is not None:
            from mofang.fit.answers import arrays_of

            found = arrays_of(self.about, self.predictor.encoder, rows, CALIBRATION)
        else:
            found = [self.predictor.encode([record]) for record in self.records[-CALIBRATION:]]
        return [graph_arrays(one) for one in found]

    def written(self, evaluation: Artifact | None) -> Package:
        """The parts of the package."""
        run, contents = self.run, Contents(self.run)
        report = evaluation.read_json("evaluation.json") if evaluation else {}
        passing = {row["precision"]: True for row in self.rows if row["passes"]}
        light = {name: (self.folder / name).read_bytes() for name in ("model.int8.onnx", "model.dynamic.onnx")
                 if "int8" in passing and (self.folder / name).exists() and self._serves(name)}
        take_graph(contents, self.graph, light)
        formats = ["onnx"]
        if "safetensors" in self.chosen.formats and take_weights(contents, self.graph, self.model):
            formats.append("safetensors")
        if self.torch:
            take_torch(contents, self.torch)
            formats.append("torch")
        lines, asked = canonical_lines(self.predictor, self.records, self.expected), len(self.records)
        data = _within([orjson.dumps(line) + b"\n" for line in lines])
        contents.write("canonical.jsonl", b"".join(data))
        contents.write_json(SCHEMA, schemas(self.predictor))
        if report:
            contents.write_json(EVIDENCE, report)
        described = self._described(evaluation, report, formats, {"requests": asked, "carried": len(data)})
        contents.write("card.md", model_card(described).encode())
        run.write_json("package.json", {**described, "files": contents.files})
        shown = ("engine", "precision", "threads", "streams", "batch", "p50_ms", "samples_per_s")
        run.measure(**{name: self.engine[name] for name in shown}, engines=self.rows)
        return run.result(Package)

    def _serves(self, name: str) -> bool:
        """Whether a row of the table that passes reads this file."""
        from mofang.engine.runtimes import runtime_named

        return any(row["passes"] and runtime_named(row["engine"]).files.get(row["precision"]) == name for row in self.rows)

    def _described(self, evaluation: Artifact | None, report: dict[str, Any], formats: list[str],
                   counted: dict[str, int]) -> dict[str, Any]:
        """package.json without the digests."""
        about, shop = self.about, self.run.shop
        given = [one for one in (self.graph, evaluation) if one is not None]
        return {
            "format": PACKAGE_FORMAT,
            **{name: about[name] for name in CARRIED if name in about},
            "graphs": {"graph": sorted(one.name for one in self.graph.parts if "/" not in one.name and one.name not in LEFT_OUT)},
            "formats": formats,
            "objective": self.chosen.objective, "engine": self.engine, "engines": self.rows, "quality": self.quality,
            "not_made": self.reasons, "machine": machine_facts(),
            "licences": sorted({name for one in given for name in one.licences} | set(about.get("licences", []))),
            "sources": cut(united(map(sources_said, snapshots_behind(shop, self.graph.entry)))),
            "evaluation": figures_of(report) if report else NOT_EVALUATED,
            "parity": {**counted, "replayed": min(REPLAYED, counted["carried"]), "tolerance": TOLERANCE,
                       "reference": self.source, "export": about.get("parity"), "tokens": self.tokens},
            "lineage": {"graph": self.graph.reference()} | ({"evaluation": evaluation.reference()} if evaluation else {}),
        }


NOT_EVALUATED: dict[str, Any] = {"headline": "", "rows": 0, "interval": "", "metrics": {}}


def _within(lines: list[bytes]) -> list[bytes]:
    """As many of the first lines as may travel, at least those that every load asks."""
    size, found = 0, []
    for number, line in enumerate(lines):
        size += len(line)
        if size > CANONICAL_BYTES_MAX and number >= REPLAYED:
            break
        found.append(line)
    return found
