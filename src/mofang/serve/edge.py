"""A package for a small device: ONNX Runtime's mobile format, the tokenizer, the labels, and a runner of plain Python.

Before the folder is handed out its runner answers the package's canonical requests in a process that cannot see Mofang, and
must cut every text into the same ids and come as near to the model as the engine that was measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.engine.encode.tokens import CHARACTERS_PER_TOKEN_MAX, TokenEncoder
from mofang.engine.measure import tolerance_of
from mofang.engine.predictor import Predictor
from mofang.engine.task import task_named
from mofang.serve import edge_runner

NORMALISE = "text-normalise"
CHECK_S = 600
NEEDS = {"own": "numpy and onnxruntime", "tokenizers": "numpy, onnxruntime and tokenizers"}
OWN, LIBRARY = "own", "tokenizers"  # what cuts a text: the runner itself, or the library
README = """A model for a small device. It needs Python 3.11 or newer with {needs}, and nothing else:

    python run.py "a text"
    python run.py --check

小型设备上的模型：只需 Python 3.11 以上和 {needs}。
model.ort 是模型，tokenizer.json 是词表，model.json 是标签与设置，requests.jsonl 供 --check 核对，card.md 是模型卡。
"""


@dataclass(frozen=True)
class Edge:
    """A folder that was written."""

    path: Path
    size_bytes: int
    requests: int
    precision: str


def write_edge(package: Artifact, out: Path) -> Edge:
    """Write the folder: complete and checked, or not at all.

    Raises ``edge-unsuited`` for a model that the runner cannot read, ``edge-differs`` where its answers are not the model's,
    ``file-exists-already`` where something stands in the folder's place.
    """
    if out.exists():
        raise MofangError("file-exists-already", path=str(out))
    predictor = Predictor(package, engine="onnx")
    encoder, cut = _suited(predictor)
    row = _row(predictor.about)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=".edge-") as place:
        folder = Path(place) / "edge"
        folder.mkdir()
        name = "model.dynamic.onnx" if row["precision"] == "int8" else "model.onnx"
        _mobile(package.path(f"graph/{name}"), folder / "model.ort")
        (folder / "tokenizer.json").write_text(encoder.tokenizer_json, encoding="utf-8")
        _write(folder / "model.json", _about(predictor, encoder, row) | {"cut": cut})
        lines = _requests(package, predictor, encoder)
        (folder / "requests.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        (folder / "card.md").write_bytes(package.path("card.md").read_bytes())
        (folder / "README.txt").write_text(README.format(needs=NEEDS[cut]), encoding="utf-8")
        shutil.copyfile(edge_runner.__file__, folder / "run.py")
        check_edge(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        os.replace(folder, out)
    return Edge(out, size, len(lines), row["precision"])


def check_edge(folder: Path) -> None:
    """Have the runner answer the requests that came with it, in a process without Mofang; raises ``edge-differs``."""
    words = [sys.executable, "-I", str(folder.resolve() / "run.py"), "--check"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_S, cwd=folder, check=False)
    said = (done.stdout if done.returncode in (0, 1) and done.stdout else done.stderr).decode("utf-8", "replace").strip()
    if done.returncode:
        raise MofangError("edge-differs", reason=(said.splitlines() or ["?"])[-1][:200])


def _suited(predictor: Predictor) -> tuple[TokenEncoder, str]:
    """The encoder, and what cuts its texts on the device."""
    encoder, about = predictor.encoder, predictor.about
    if task_named(about["task"]).target != "class" or type(encoder) is not TokenEncoder:
        raise MofangError("edge-unsuited", reason=f"{about['task']}, {about['encoder']['name']}")
    if [one["name"] for one in predictor.operators] not in ([], [NORMALISE]) or len(encoder.columns) != 1:
        raise MofangError("edge-unsuited", reason=", ".join(one["name"] for one in predictor.operators) or "several columns")
    said = json.loads(encoder.tokenizer_json)
    kinds = [(said[part] or {}).get("type") for part in ("model", "normalizer", "pre_tokenizer")]
    known = kinds[0] in ("BPE", "WordPiece") and kinds[1:] == ["BertNormalizer", "BertPreTokenizer"]
    frame = (said.get("post_processor") or {}).get("type")
    own = known and frame in (None, "TemplateProcessing", "BertProcessing") and not said["model"].get("byte_fallback")
    return encoder, OWN if own else LIBRARY


def _row(about: dict[str, Any]) -> dict[str, Any]:
    """The smallest form that ONNX Runtime may serve."""
    rows = [row for row in about["engines"] if row["engine"] == "onnx" and row["passes"]]
    if not rows:
        raise MofangError("edge-unsuited", reason="onnx")
    row: dict[str, Any] = min(rows, key=lambda one: one["size_bytes"])
    return {"precision": "fp32", **row}


def _about(predictor: Predictor, encoder: TokenEncoder, row: dict[str, Any]) -> dict[str, Any]:
    from mofang.data.operators.normalise import spelling

    normalised = bool(predictor.operators)
    return {"labels": predictor.labels, "decide": predictor.about.get("decide"), "normalise": normalised,
            "spelling": spelling() if normalised else {}, "max_length": encoder.max_length, "padding_id": encoder.padding_id,
            "characters_max": encoder.max_length * CHARACTERS_PER_TOKEN_MAX, "precision": row["precision"],
            "tolerance": tolerance_of(row), "licences": predictor.about["licences"]}


def _requests(package: Artifact, predictor: Predictor, encoder: TokenEncoder) -> list[dict[str, Any]]:
    lines = []
    column = encoder.columns[0]
    for line in package.path("canonical.jsonl").read_bytes().splitlines():
        held = orjson.loads(line)
        records, _ = predictor.parse(held["request"])
        ids = predictor.encode(records)["input_ids"][0].tolist()
        lines.append({"text": records[0][column], "ids": ids, "probabilities": held["outputs"]["probabilities"]})
    return lines


def _mobile(source: Path, place: Path) -> None:
    """ONNX Runtime's own format (.ort), with the optimisations that hold on every processor."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(place)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _write(path: Path, value: Any) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
