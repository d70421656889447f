"""The parity gate: an engine serves only if it answers as the trained model does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.trace import ancestors, walk
from mofang.data.collecting.provenance import sources_of
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Encoder, Record, load_encoder
from mofang.engine.fuzz import CHARACTERS, fuzz_digest
from mofang.engine.measure import TOLERANCE, Objective, Row, choose
from mofang.engine.outputs import run_graph, stacked
from mofang.engine.predictor import Predictor
from mofang.engine.runtimes import Runtime, file_of
from mofang.engine.runtimes.onnx import OnnxRuntime
from mofang.engine.runtimes.xgboost import XgboostRuntime
from mofang.engine.task import read_columns

REFERENCE_S, LEAST = 30.0, 64
TRAINED = "the trained model"
SNAPSHOT = "snapshot"     # the kind whose operators a graph must carry


def reference(folder: Path, predictor: Predictor, records: Sequence[Record]) -> tuple[Arrays, str]:
    """What the model gives, by name (probabilities float32 [N, K] for classes), and where it comes from.

    Records go one by one, so that nothing is padded; of a slow model those that 30 seconds suffice for, at least 64. A
    boosted model is run by XGBoost itself; any other graph node by node as it was exported, without an engine's rewriting.
    (The export proved that graph equal to the trained network.)
    """
    runtime: Runtime
    if (folder / XgboostRuntime.file).exists() and XgboostRuntime.available() is None:
        runtime, source = XgboostRuntime(folder / XgboostRuntime.file, 1), "xgboost"
    else:
        runtime, source = OnnxRuntime(file_of(OnnxRuntime, folder, "fp32"), 1, optimise=False), "graph as exported"
    found, until_s = list[Arrays](), time.monotonic() + REFERENCE_S
    for number, record in enumerate(records):
        if number >= LEAST and time.monotonic() > until_s:
            break
        found.append(run_graph(runtime, predictor.encoder, predictor.encode([record])))
    return stacked(found), source


def wanted_answers(graph: Artifact, folder: Path, predictor: Predictor, count: int,
                   seed: int) -> tuple[list[Record], Arrays, str]:
    """Canonical requests with what the model gives, and where that comes from: the trained model itself, where the export asked
    so many of this seed, else ``reference``."""
    from mofang.fit.replayed import ANSWERED, ASKED, SEED, read_canonical

    asked = graph.read_json("about.json").get("parity", {}).get("canonical", {})
    if seed == SEED and graph.has(ANSWERED) and asked.get("reference") == TRAINED:
        with graph.open(ASKED) as lines, graph.open(ANSWERED) as answers:
            records, expected = read_canonical(lines.read(), answers.read(), predictor.signature)
        return records[:count], {name: array[:count] for name, array in expected.items()}, TRAINED
    records = predictor.task.canonical(predictor.signature, predictor.encoder, count, seed)
    expected, source = reference(folder, predictor, records)
    return records[: len(next(iter(expected.values())))], expected, source


def check_tokens(encoder: Encoder, model: Artifact | None) -> dict[str, Any]:
    """That the tokenizer of training cuts a million characters as that of serving does; raises ``parity-mismatch``.

    The digest of the ids travels, and a machine with another version of a library compares it again.
    """
    found = fuzz_digest(encoder)
    if not found:
        return {}
    files = {} if model is None else {part.name.removeprefix("encoder/"): model.path(part.name).read_bytes()
                                      for part in model.parts if part.name.startswith("encoder/")}
    if model is not None and files != encoder.save():  # equal states of one class are the same tokenizer
        trained = fuzz_digest(load_encoder(model.read_json("about.json")["encoder"], files))
        if trained != found:
            raise MofangError("parity-mismatch", where=f"{CHARACTERS:,} characters", what="token ids", found=found[:12],
                              allowed=trained[:12])
    return {"characters": CHARACTERS, "digest": found}


def gate(rows: Sequence[Row], objective: Objective) -> Row:
    """The best engine that passes; raises MofangError parity-mismatch if none does."""
    chosen = choose(rows, objective)
    if chosen is None:
        measured = [row for row in rows if "reason" not in row]
        if not measured:
            reasons = "; ".join(f"{row['engine']}: {row['reason']}" for row in rows)
            raise MofangError("engine-none", reasons=reasons)
        nearest = min(measured, key=lambda row: row["max_abs_difference"])
        raise MofangError("parity-mismatch", where=f"every engine, {nearest['engine']} the least,",
                          what="probabilities", found=f"{nearest['max_abs_difference']:.2g}",
                          allowed=f"{TOLERANCE:g}")
    return chosen


def check_lineage(shop: Shop, entry: str, operators: Sequence[dict[str, Any]]) -> None:
    """Refuse a graph that lost an operator on its way from the snapshot: its values would not be those of
    training."""
    for snapshot in snapshots_behind(shop, entry):
        for spec in snapshot.read_json("about.json").get("operators", []):
            if spec not in operators:
                raise MofangError("operator-lost", operator=spec["name"], columns=", ".join(spec["columns"]))


def check_features(about: Mapping[str, Any]) -> None:
    """Refuse a graph that reads a column which neither a request gives nor an operator makes."""
    given, lost = {one["name"] for one in about["inputs"]}, []
    for spec in about.get("operators", []):
        makes = spec.get("state", {}).get("makes", [])
        lost += [name for name in spec["columns"] if makes and name not in given]
        given |= set(makes)
    lost += [one["name"] for one in read_columns(about) if one["name"] not in given]
    if lost:
        raise MofangError("feature-not-made", columns=", ".join(lost))


def snapshots_behind(shop: Shop, entry: str) -> list[Artifact]:
    """The snapshots that an entry was made from."""
    found = [node.entry for node in walk(ancestors(shop.ledger, entry)) if node.kind == SNAPSHOT]
    return [shop.artifact(shop.ledger.get(one)) for one in dict.fromkeys(found)]


def sources_said(snapshot: Artifact) -> list[dict[str, str]]:
    """What was said of the sources of a snapshot; one of an older Mofang says it in its parts."""
    about = snapshot.read_json("about.json")
    if "sources" not in about:
        about = snapshot.read_json("train/about.json")
    return sources_of(about, {})
