"""What a graph answers on labelled records: the truth beside its probabilities, as it will give them when it serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.data.operators import apply_operators
from mofang.data.records import RecordReader, Records
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, load_encoder
from mofang.engine.machine import cores
from mofang.engine.measure import start
from mofang.engine.outputs import run_graph, stacked
from mofang.engine.runtimes import Runtime
from mofang.engine.task import task_named
from mofang.fit.targets import labels_named, read_targets

BATCH_ROWS = 256


def truth_of(records: Records, about: dict[str, Any]) -> tuple[list[str], Any]:
    """The ids and true targets of labelled records: for classes int64 [N], places in the model's labels; for others as
    ``fit.targets.read_targets`` says.

    Raises ``test-columns`` where a column is missing, ``test-labels`` for a label that the model does not know.
    """
    reader, labels = RecordReader(records), list(about["labels"])
    missing = [one["name"] for one in about["inputs"] if one["name"] not in reader.roles]
    if missing or about["label"] not in reader.roles:
        raise MofangError("test-columns", columns=", ".join(missing or [about["label"]]))
    ids: list[str] = []
    cells: list[str] = []
    for batch in reader.batches(media=False, columns=[about["label"]]):
        ids += batch.column("id")
        cells += batch.column(about["label"])
    target = task_named(about["task"]).target
    unknown = sorted(labels_named(target, cells) - set(labels))
    if unknown:
        raise MofangError("test-labels", unknown=", ".join(unknown[:5]), labels=", ".join(labels))
    if not ids:
        raise MofangError("test-empty")
    return ids, read_targets(target, cells, labels)


def probabilities_of(run: Run, name: str, graph: Artifact, records: Records, rows: int) -> Array:
    """The graph's probabilities float32 [N, K] on records, as ONNX Runtime gives them."""
    return outputs_of(run, name, graph, records, rows)["probabilities"]


def outputs_of(run: Run, name: str, graph: Artifact, records: Records, rows: int) -> Arrays:
    """The graph's outputs by name, a row for each record, as ONNX Runtime gives them.

    ``graph`` holds about.json, model.onnx and ``encoder/``. Values were already changed by the operators when the
    records were cleaned; features are made afresh of the raw columns with the graph's own operators, so that an older
    model can answer the records of a newer snapshot. Then the encoder is applied.
    """
    about = graph.read_json("about.json")
    inside = [part.name for part in graph.parts if part.name.startswith("encoder/")]
    files = {name.removeprefix("encoder/"): graph.path(name).read_bytes() for name in inside}
    folder = run.scratch / f"graph-{name}"
    graph.lay_out(folder)
    return answers_of(run, folder, about, files, records, rows)


def answers_of(run: Run, folder: Path, about: dict[str, Any], encoder: dict[str, bytes], records: Records,
               rows: int, runtime: Runtime | None = None) -> Arrays:
    """The same for a folder with model.onnx, its about and its encoder's files; or by another engine that is loaded."""
    loaded = load_encoder(about["encoder"], encoder)
    runtime = runtime or start("onnx", folder, about, cores())
    wanted: Sequence[str] = [one["name"] for one in about["inputs"]]
    specs = about["operators"][about["features"]["begin"]:] if "features" in about else []
    found = []
    with run.progress("Answering", "作答中", total=rows) as bar:
        for batch in RecordReader(records).batches(BATCH_ROWS, columns=wanted):
            raw = batch.rows(wanted)
            arrays = loaded.encode(apply_operators(specs, raw) if specs else raw)
            found.append(run_graph(runtime, loaded, arrays))
            bar.advance(len(batch))
    return stacked(found)


def arrays_of(about: dict[str, Any], encoder: Encoder, records: Records, count: int) -> list[Arrays]:
    """What the encoder makes of up to ``count`` labelled records, one by one and spread over the first batch."""
    wanted: Sequence[str] = [one["name"] for one in about["inputs"]]
    specs = about["operators"][about["features"]["begin"]:] if "features" in about else []
    for batch in RecordReader(records).batches(BATCH_ROWS, columns=wanted):
        rows = batch.rows(wanted)
        rows = rows[:: max(1, len(rows) // count)][:count]
        return [encoder.encode([row]) for row in (apply_operators(specs, rows) if specs else rows)]
    return []
