"""A package, opened: raw records in, answers out, by exactly the operators, encoder and graph of training."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.canonical import file_digest
from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record, load_encoder
from mofang.engine.machine import cores, same_machine
from mofang.engine.measure import TOLERANCE, start, tolerance_of
from mofang.engine.outputs import run_graph, stacked
from mofang.engine.replay import replay
from mofang.engine.runtimes import Runtime
from mofang.engine.task import Answer, Signature, task_named

PACKAGE_FORMAT = 3       # of packages: 3 names graphs, precisions and streams; 2 had ``decide``, the threshold of two classes
FORMATS = (1, 2, 3)      # of packages and graphs, all of which open
REPLAYED = 16            # canonical requests asked again at every load; all of them on another machine than the table's
TORCH = "torch/"
AT_ONCE = 256            # canonical requests that are held in memory
BATCH_MAX = 32           # records that go through the graph at once
CELLS_MAX = 1 << 20      # ids at once: bounds memory when a batch holds very long texts


class Package(Artifact):
    """A model ready to answer: package.json, schema.json, canonical.jsonl, card.md, ``graph/`` and ``encoder/``; where
    they were asked for, ``weights/`` as they were trained and ``torch/``, the program that torch runs."""

    kind = "package"


class Predictor:
    """Opens a package (a folder or an artifact) or a graph, and answers with it.

    A package is checked before the first answer: every file against its digest, operators and encoder against
    the versions of training, and 16 canonical requests replayed (all of them where the processor or a library is not
    the one that its table was measured with); any difference refuses it. A graph has no canonical requests and no
    measured engine: it runs on ONNX Runtime. May be called from several threads.
    """

    def __init__(self, source: str | Path | Artifact, *, engine: str = "", threads: int = 0, precision: str = "",
                 streams: int = 0) -> None:
        """The last four override what the package measured, for tests and comparisons."""
        began = time.perf_counter()
        files = package_files(source)
        self._asked = {name: value for name, value in (("engine", engine), ("threads", threads), ("precision", precision),
                                                       ("streams", streams)) if value}
        self._own = isinstance(source, Artifact) and not any(name.startswith("ancestry/") for name in files)
        self.packaged = "package.json" in files
        self.about: dict[str, Any] = package_about(source, files, self.packaged)
        self.task = task_named(self.about["task"])
        self.signature: Signature = {"task": self.about["task"], "inputs": self.about["inputs"],
                                     "labels": self.about["labels"]}
        if self.about.get("decide"):
            self.signature["decide"] = self.about["decide"]
        if "thresholds" in self.about:
            self.signature["thresholds"] = self.about["thresholds"]
        if "features" in self.about:
            self.signature["features"] = self.about["features"]
        self.labels: list[str] = list(self.about["labels"])
        self.operators: list[dict[str, Any]] = list(self.about.get("operators", []))
        check_operators(self.operators)
        if any("key" in spec.get("state", {}) for spec in self.operators):
            from mofang.data.protecting.ring import lend

            lend(source.shop if isinstance(source, Artifact) else None, self.operators)
        state = {name.removeprefix("encoder/"): path.read_bytes() for name, path in files.items()
                 if name.startswith("encoder/")}
        self.encoder: Encoder = load_encoder(self.about["encoder"], state)
        self.engine, self._runtime, self.tolerance = self._start(files)
        self.loose = self.engine["precision"] == "int8"
        if self.packaged:
            self.measured_here = same_machine(self.about.get("machine", {}))
            lines = files["canonical.jsonl"].read_bytes().splitlines()[: REPLAYED if self.measured_here else None]
            for begin in range(0, len(lines), AT_ONCE):
                replay(self, [json.loads(line) for line in lines[begin:begin + AT_ONCE]])
        self.load_seconds = time.perf_counter() - began

    def parse(self, body: object) -> tuple[list[Record], bool]:
        """Read a decoded JSON body: its records, and whether it held many. Raises MofangError (4xx)."""
        return self.task.parse(self.signature, body)

    def units(self, records: Sequence[Record]) -> int:
        """Billed units of these records."""
        return sum(self.task.units(record) for record in records)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """One answer per record."""
        return self.answers(self.outputs(records), records) if records else []

    def encode(self, records: Sequence[Record]) -> Arrays:
        """The arrays that training saw for these records: operators, then the encoder."""
        if self.operators:
            from mofang.data.operators import apply_operators

            records = apply_operators(self.operators, records)
        return self.encoder.encode(records)

    def outputs(self, records: Sequence[Record]) -> Arrays:
        """The graph's outputs by name, a row for each record ({"probabilities": float32 [B, K]} for classes)."""
        found = [self._run(records[begin:begin + BATCH_MAX]) for begin in range(0, len(records), BATCH_MAX)]
        if not found:
            return {"probabilities": np.zeros((0, len(self.labels)), np.float32)}
        if len(found) == 1:
            return found[0]
        return stacked(found)

    def answers(self, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """What a customer reads, for a graph's outputs on these records."""
        return self.task.answer(self.signature, outputs, records)

    def _run(self, records: Sequence[Record]) -> Arrays:
        arrays = self.encode(records)
        cells = max((array.size for array in arrays.values() if array.ndim == 2), default=0)
        if cells > CELLS_MAX and len(records) > 1:
            half = len(records) // 2
            return stacked([self._run(records[:half]), self._run(records[half:])])
        return run_graph(self._runtime, self.encoder, arrays)

    def _start(self, files: Mapping[str, Path]) -> tuple[dict[str, Any], Runtime, float]:
        """Start the engine that was chosen; where this machine lacks it, the next one that passed."""
        wanted: list[dict[str, Any]] = [self.about.get("engine", {"engine": "onnx", "threads": cores()})]
        wanted += [row for row in self.about.get("engines", []) if row["passes"]]
        if self._asked:
            wanted = [self._known(wanted) | self._asked]
        reasons: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            self._lay(files, folder)
            for row in wanted:
                name, precision = row["engine"], row.get("precision", "fp32")
                shown = name if precision == "fp32" else f"{name} {precision}"
                if shown in reasons:
                    continue
                threads = min(int(row["threads"]), cores())
                streams = int(row.get("streams", max(1, cores() // threads)))
                try:
                    runtime = start(name, folder, self.about, threads, precision, streams)
                except MofangError as error:
                    reasons[shown] = str(error.values.get("reason", error.code))
                    continue
                batch = int(row.get("batch", BATCH_MAX))
                return {"engine": name, "precision": precision, "threads": threads, "streams": streams,
                        "batch": batch}, runtime, tolerance_of(row)
        raise MofangError("engine-none", reasons="; ".join(f"{name}: {why}" for name, why in reasons.items()))

    def _known(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The row of the table that comes nearest to what was asked for, or plain settings."""
        same = [row for row in rows if all(row.get(name, "fp32") == self._asked[name] for name in ("engine", "precision")
                                           if name in self._asked)]
        plain = {"engine": "onnx", "precision": "fp32", "threads": cores(), "streams": 1, "tolerance": TOLERANCE}
        return {**plain, **(dict(same[0]) if same else {})}

    def _lay(self, files: Mapping[str, Path], folder: Path) -> None:
        """Links to the files that engines read. A torch program is one of this shop only: reading one runs what it says."""
        inside = "graph/" if self.packaged else ""
        for name, path in files.items():
            if name.startswith(inside) and "/" not in name.removeprefix(inside):
                (folder / name.removeprefix(inside)).symlink_to(path.resolve())
            elif name.startswith(TORCH) and self._own:
                (folder / name.removeprefix(TORCH)).symlink_to(path.resolve())


def check_operators(operators: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a model whose value operators this Mofang does not have in the version of training."""
    if operators:
        from mofang.data.operators import operator_of

        for spec in operators:
            operator_of(spec)


def package_files(source: str | Path | Artifact) -> dict[str, Path]:
    """Every file by its name inside the package."""
    if isinstance(source, Artifact):
        return {part.name: source.path(part.name) for part in source.parts}
    folder = Path(source)
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def package_about(source: str | Path | Artifact, files: Mapping[str, Path], packaged: bool) -> dict[str, Any]:
    """package.json or about.json, its format known and, for a package, every file as it was packaged."""
    where = source.entry if isinstance(source, Artifact) else str(source)
    name = "package.json" if packaged else "about.json"
    if name not in files:
        raise MofangError("package-unreadable", path=where, reason="it has no package.json and no about.json")
    if isinstance(source, Artifact) and file_digest(files[name]) != source.part(name).digest:
        raise MofangError("package-damaged", part=name)
    try:
        about: dict[str, Any] = json.loads(files[name].read_bytes())
        missing = {"format", "task", "inputs", "labels", "encoder"} - set(about)
    except ValueError as error:
        raise MofangError("package-unreadable", path=where, reason=f"{name}: {error}") from error
    if missing:
        lacks = ", ".join(sorted(missing))
        raise MofangError("package-unreadable", path=where, reason=f"{name} lacks {lacks}")
    if about["format"] not in FORMATS:
        raise MofangError("package-format", format=about["format"], known=PACKAGE_FORMAT)
    if about.get("decide") and not _is_decide(about["decide"], about["labels"]):
        raise MofangError("package-unreadable", path=where, reason=f"{name}: decide is not understood")
    for part, digest in about.get("files", {}).items():
        if part not in files or file_digest(files[part]) != digest:
            raise MofangError("package-damaged", part=part)
    return about


def _is_decide(given: object, labels: Sequence[str]) -> bool:
    """Whether this is a threshold for these labels; a package may come from anywhere."""
    if not isinstance(given, dict) or len(labels) != 2 or given.get("positive") not in labels:
        return False
    threshold = given.get("threshold")
    return isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold <= 1
