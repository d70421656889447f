"""Measure a package's engines again, on the machine that is to serve it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import Field

from mofang.core.canonical import sha256
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.engine.measure import BATCHES, Objective, machine_facts, measure, planned
from mofang.engine.outputs import read_rows
from mofang.engine.predictor import Package, Predictor
from mofang.serve.card import model_card
from mofang.serve.parity import gate

GRAPH = "graph/"
WRITTEN = ("package.json", "card.md")


def fits(described: dict[str, Any], engine: str) -> bool:
    """True if a package was measured on a machine like this one, and the engine it chose is the one that runs here."""
    here = machine_facts()
    same = all(described.get("machine", {}).get(name) == here[name] for name in ("processor", "system", "cores"))
    return same and engine == described["engine"]["engine"]


@stage(version=1, depends="machine")
def remeasure(run: Run, package: Package, *, objective: Objective = "throughput",
              seconds: Annotated[float, Field(gt=0, le=10)] = 0.3) -> Package:
    """Measure the engines of this machine for a package that was made on another one.

    Graph, encoder, canonical requests and figures stay as they are; the table of engines and the choice are new. An engine
    that does not give the package's own answers is not used.
    """
    described = package.read_json("package.json")
    predictor = Predictor(package)
    lines = [orjson.loads(line) for line in package.path("canonical.jsonl").read_bytes().splitlines()]
    records = [record for line in lines for record in predictor.parse(line["request"])[0]]
    expected = read_rows([line["outputs"] for line in lines])
    folder = run.scratch / "package"
    package.lay_out(folder)
    with run.progress("Measuring engines", "测量引擎", total=len(planned(folder / GRAPH)) * len(BATCHES)) as bar:
        rows = measure(folder / GRAPH, described, records, predictor.encode, expected, encoder=predictor.encoder,
                       seconds=seconds, tick=bar.advance)
    chosen = gate(rows, objective)
    described |= {"objective": objective, "engine": chosen, "engines": rows, "machine": machine_facts()}
    for part in package.parts:
        if part.name not in WRITTEN:
            run.copy(part.name, part)
    card = model_card(described).encode()
    run.write_bytes("card.md", card)
    described["files"] |= {"card.md": sha256(card)}
    run.write_json("package.json", described)
    run.measure(**{name: chosen[name] for name in ("engine", "threads", "batch", "p50_ms", "samples_per_s")})
    return run.result(Package)
