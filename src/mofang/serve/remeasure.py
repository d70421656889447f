"""Measure a package's engines again, on the machine that is to serve it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.canonical import sha256
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.engine.fuzz import CHARACTERS, fuzz_digest
from mofang.engine.generation.opened import DECODER, Generator
from mofang.engine.generation.runtime import FILE
from mofang.engine.machine import machine_facts, same_machine
from mofang.engine.measure import AGREEMENT_MIN, BATCHES, Objective, Row, measure, planned, tolerance_of
from mofang.engine.outputs import read_rows
from mofang.engine.predictor import Package, Predictor
from mofang.engine.runtimes import LOSSY
from mofang.serve.card import model_card
from mofang.serve.parity import gate

GRAPH = "graph/"
WRITTEN = ("package.json", "card.md")
ALL = 100  # canonical requests from which the share of labels that agree says something
TIMED = ("threads", "streams", "batch", "load_s", "p50_ms", "samples_per_s")


def fits(described: dict[str, Any], engine: str) -> bool:
    """True if a package was measured on a machine like this one, and the engine it chose is the one that runs here."""
    return same_machine(described.get("machine", {})) and engine == described["engine"]["engine"]


@stage(version=3, depends="machine")
def remeasure(run: Run, package: Package, *, objective: Objective = "throughput",
              seconds: Annotated[float, Field(gt=0, le=10)] = 0.2) -> Package:
    """Measure the engines of this machine for a package that was made on another one.

    Graph, encoder, canonical requests and figures stay as they are; the table of engines and the choice are new. An engine
    that does not give the package's own answers is not used; one of int8 must have passed where the test records were, and
    stay as near to the model here as it was there.
    """
    described = package.read_json("package.json")
    rows = _decoder(run, package, described, seconds) if DECODER in described else _table(run, package, described, seconds)
    chosen = gate(rows, objective)
    described |= {"objective": objective, "engine": chosen, "engines": rows, "machine": machine_facts()}
    for part in package.parts:
        if part.name not in WRITTEN:
            run.copy(part.name, part)
    card = model_card(described).encode()
    run.write_bytes("card.md", card)
    described["files"] |= {"card.md": sha256(card)}
    run.write_json("package.json", described)
    shown = ("engine", "precision", "threads", "streams", "batch", "p50_ms", "samples_per_s")
    run.measure(**{name: chosen[name] for name in shown})
    return run.result(Package)


def _decoder(run: Run, package: Package, described: dict[str, Any], seconds: float) -> list[Row]:
    """The rows of a generator's decoder, timed here; it has then given all its canonical answers."""
    from mofang.serve.generators import speeds

    with run.progress("Measuring engines", "测量引擎"):
        generator = Generator(package)
        check_same_tokens(described, generator.encoder)
        known = {name: value for name, value in described["engine"].items() if name not in TIMED}
        return speeds(package.path(f"{DECODER}/{FILE}"), generator.decoder.shape, generator.context, known, seconds)


def _table(run: Run, package: Package, described: dict[str, Any], seconds: float) -> list[Row]:
    """The rows of every engine for the package's graph; a lossy precision inherits what was found where its quality was taken."""
    predictor = Predictor(package, engine="onnx")  # every graph runs there; what was chosen elsewhere may not even load here
    lines = [orjson.loads(line) for line in package.path("canonical.jsonl").read_bytes().splitlines()]
    records = [record for line in lines for record in predictor.parse(line["request"])[0]]
    expected = read_rows([line["outputs"] for line in lines])
    check_same_tokens(described, predictor.encoder)
    folder = run.scratch / "package"
    package.lay_out(folder)
    before = {(row["engine"], row["precision"]): row for row in described["engines"]
              if row["passes"] and row.get("precision", "fp32") in LOSSY}
    precisions = ("fp32", *dict.fromkeys(precision for _, precision in before))
    with run.progress("Measuring engines", "测量引擎", total=len(planned(folder / GRAPH, precisions)) * len(BATCHES)) as bar:
        rows = measure(folder / GRAPH, described, records, predictor.encode, expected, encoder=predictor.encoder,
                       seconds=seconds, precisions=precisions, tick=bar.advance)
    for row in rows:
        _inherit(row, before.get((row["engine"], row.get("precision", "fp32"))))
    return rows


def _inherit(row: Row, before: Row | None) -> None:
    """A lossy row of this machine passes as far as it did where its quality was measured."""
    if row.get("precision") not in LOSSY or "reason" in row:
        return
    if before is None:
        row["passes"] = False
    elif row["precision"] != "bf16":
        row["tolerance"] = tolerance_of(before)
        alike = row["label_agreement"] >= AGREEMENT_MIN or not row.get("requests", 0) >= ALL
        row["passes"] = alike and row["max_abs_difference"] <= row["tolerance"]


def check_same_tokens(described: dict[str, Any], encoder: object) -> None:
    """The tokenizer library of this machine must cut a million characters as that of the package's machine did."""
    said = described.get("parity", {}).get("tokens") or {}
    found = fuzz_digest(encoder) if said else ""
    if said and found != said["digest"]:
        raise MofangError("parity-mismatch", where=f"{CHARACTERS:,} characters", what="token ids", found=found[:12],
                          allowed=str(said["digest"])[:12])


def current(shop: Shop, package: Artifact) -> Artifact:
    """The package as it is best served on this machine: itself, or measured again where processor or libraries are others.

    A person who may not release gets it as it is; it has then answered all its canonical requests at the load.
    """
    described = package.read_json("package.json")
    if fits(described, described["engine"]["engine"]) or not shop.permit(shop.actor, "train"):
        return package
    return shop.run(remeasure, package, objective=described.get("objective", "throughput"))  # type: ignore[no-any-return]
