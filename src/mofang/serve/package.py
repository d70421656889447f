"""Package a graph: measure the engines of this machine, prove that they answer alike, and write down the
evidence."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import Field

from mofang.core.ancestry import cut
from mofang.core.canonical import sha256
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.collecting.provenance import united
from mofang.engine.measure import BATCHES, TOLERANCE, Objective, machine_facts, measure, planned
from mofang.engine.predictor import PACKAGE_FORMAT, PLAIN_FORMAT, REPLAYED, Package, Predictor
from mofang.engine.replay import canonical_lines
from mofang.engine.task import task_named
from mofang.fit.export import Graph
from mofang.judge.evaluate import Evaluation
from mofang.serve.card import model_card
from mofang.serve.parity import check_features, check_lineage, gate, reference, snapshots_behind, sources_said

CARRIED = ("task", "inputs", "features", "labels", "decide", "thresholds", "headline", "operators", "encoder", "family",
           "base_model")


@stage(version=4, keyed_on="references", depends="machine")
def package(run: Run, graph: Graph, evaluation: Evaluation, *, objective: Objective = "throughput",
            seconds: Annotated[float, Field(gt=0, le=10)] = 0.3,
            requests: Annotated[int, Field(ge=16, le=1000)] = 64, seed: int = 0) -> Package:
    """Make a model ready to serve: the fastest engine on this machine that gives the model's own answers.

    Every engine is measured on made-up requests, alone and in batches, on one core and on all. One whose
    probabilities differ by more than 1e-4, or that changes a label, is not used; if none is left, nothing is
    packaged.
    """
    about = graph.read_json("about.json")
    check_lineage(run.shop, graph.entry, about.get("operators", []))
    check_features(about)
    if task_named(about["task"]).target == "text":
        from mofang.serve.generators import pack

        return pack(run, graph, evaluation, objective, seconds, requests, seed)
    predictor = Predictor(graph)
    records = predictor.task.canonical(predictor.signature, predictor.encoder, requests, seed)
    folder = run.scratch / "graph"
    graph.lay_out(folder)
    expected, source = reference(folder, predictor, records)
    with run.progress("Measuring engines", "测量引擎", total=len(planned(folder)) * len(BATCHES)) as bar:
        rows = measure(folder, about, records, predictor.encode, expected, encoder=predictor.encoder, seconds=seconds,
                       tick=bar.advance)
    chosen = gate(rows, objective)
    lines = canonical_lines(predictor, records, expected)
    figures = _figures(evaluation.read_json("evaluation.json"))
    described: dict[str, Any] = {
        "format": PACKAGE_FORMAT if about.get("decide") else PLAIN_FORMAT,
        **{name: about[name] for name in CARRIED if name in about},
        "objective": objective, "engine": chosen, "engines": rows, "machine": machine_facts(),
        "licences": sorted({*graph.licences, *evaluation.licences, *about.get("licences", [])}),
        "sources": cut(united(map(sources_said, snapshots_behind(run.shop, graph.entry)))),
        "evaluation": figures,
        "parity": {"requests": len(records), "replayed": min(REPLAYED, len(records)), "tolerance": TOLERANCE,
                   "reference": source, "export": about.get("parity")},
        "lineage": {"graph": graph.reference(), "evaluation": evaluation.reference()},
    }
    files = {}
    for part in graph.parts:
        if part.name != "about.json":
            name = part.name if part.name.startswith("encoder/") else f"graph/{part.name}"
            run.copy(name, part)
            files[name] = part.digest
    texts = {"canonical.jsonl": b"".join(orjson.dumps(line) + b"\n" for line in lines),
             "card.md": model_card(described).encode()}
    for name, data in texts.items():
        run.write_bytes(name, data)
        files[name] = sha256(data)
    run.write_json("package.json", {**described, "files": files})
    shown = ("engine", "threads", "batch", "p50_ms", "samples_per_s")
    run.measure(**{name: chosen[name] for name in shown}, engines=rows)
    return run.result(Package)


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    """What a buyer asks first, out of the evaluation: rows, the figures with intervals, the baseline's beside
    them."""
    beside: dict[str, Any] = {name: report[name] for name in ("difference", "detection") if name in report}
    if "baseline" in report:
        beside["baseline"] = {name: report["baseline"][name] for name in ("family", "metrics")}
    return {name: report[name] for name in ("headline", "rows", "interval", "metrics")} | beside
