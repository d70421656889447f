"""Take in a model that was trained elsewhere: a folder of safetensors or an ONNX file becomes a graph like any other.

Nothing of it is run that could do more than compute: no pickle, no code of its own, no operators that are not standard, no
weights outside its folder. What it was trained on is not known here, so its licence and origin must be said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import OnDisk, stage
from mofang.engine.graphfile import check_graph
from mofang.engine.outputs import run_graph
from mofang.engine.runtimes import Runtime
from mofang.engine.runtimes.onnx import OnnxRuntime, failures
from mofang.engine.task import Signature, task_named
from mofang.fit.adoptedgraph import lay_apart
from mofang.fit.adopting import CARD, CONFIG, KINDS, PIXELS, POOLING, TOKENIZER, WEIGHTS, Asked, Taken
from mofang.fit.export import DIFFERENCE_MAX, Graph
from mofang.fit.replayed import Answers, check_canonical

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5")
FILES = (CONFIG, WEIGHTS, TOKENIZER, CARD, PIXELS, POOLING, "modules.json", "tokenizer_config.json", "chat_template.jinja")
TRIED = 4  # requests by which a graph is seen to answer at all
Kind = Literal["text_classification", "text_embedding", "token_classification", "image_classification", "text_generation"]


def content_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """The bytes of what is taken in, so that another model under the same name is another run."""
    source = Path(settings["source"])
    folder = source if source.is_dir() else source.parent
    wanted = [folder / name for name in FILES] + ([] if source.is_dir() else [source, source.with_name(source.name + ".data")])
    return digest_of({str(path.relative_to(folder)): file_digest(path) for path in wanted if path.is_file()})


@stage(version=2, source_digest=content_digest)
def adopt(run: Run, *, source: Annotated[str, OnDisk()], licence: str, origin: str, task: Kind = "text_classification",
          labels: tuple[str, ...] = (), text: str = "text", label: str = "label",
          max_length: Annotated[int, Field(ge=8, le=8192)] = 128, gives: Literal["logits", "probabilities"] = "logits") -> Graph:
    """Take in a model that was trained elsewhere, as a graph that can be evaluated, packaged, served and sold.

    ``source`` is a folder with config.json, model.safetensors and tokenizer.json (BERT and its like: texts with a label, with
    vectors or with tagged pieces; GPT and Llama: generators), or an ONNX file: of texts with tokenizer.json beside it and the
    inputs input_ids and attention_mask, of images with preprocessor_config.json. ``licence`` and ``origin`` are yours to say;
    ``labels`` in the model's own order (left out: those that its configuration names); ``text`` is the column that is asked.
    Pickled weights are never read. The graph must answer 1,000 made-up requests as the weights do.
    """
    place = Path(source)
    if not licence.strip() or not origin.strip():
        raise MofangError("adopt-unsaid")
    asked = Asked(place, _config(place, task), labels, text if task != "image_classification" or text != "text" else "image",
                  max_length, gives)
    with run.progress("Taking the model in", "接收模型"):
        taken = KINDS[task](asked)
    about = _about(asked, task, label, licence, origin, taken)
    files = taken.encoder.save()
    folder = run.scratch / "taken"
    folder.mkdir(exist_ok=True)
    written = lay_apart(taken.graph, folder)
    check_graph(written[0], written[0].name, written[1] if len(written) > 1 else None)
    if task == "text_generation":  # its words are compared step by step where its decoder is made
        evidence: dict[str, Any] = {"rows": TRIED, **_tried(taken, about, written[0])}
    else:
        _tried(taken, about, written[0])
        said = check_canonical(run, about, files, written[0], taken.answers, taken.weights, DIFFERENCE_MAX)
        evidence = {"rows": said["requests"], "max_abs_difference": said["max_abs_difference"],
                    "label_agreement": said["label_agreement"]}
        about["parity"] = {**evidence, "canonical": said}
    _write(run, asked, written, files, taken)
    run.licence(licence)
    run.write_json("about.json", {"parity": evidence, **about})
    run.measure(size_bytes=sum(one.stat().st_size for one in written), **evidence)
    return run.result(Graph)


def _about(asked: Asked, task: Kind, label: str, licence: str, origin: str, taken: Taken) -> dict[str, Any]:
    found = task_named(task)
    role = "image" if "image" in found.input_roles else "text"
    return {
        "format": 1, "task": task, "inputs": [{"name": asked.column, "role": role}], "labels": taken.labels, "label": label,
        "operators": [], "headline": found.headline({}),
        "family": {"tag": "adopted", "version": 1, "kind": str(asked.config.get("model_type", "onnx"))},
        "encoder": {"name": taken.encoder.name, "version": taken.encoder.version}, "licences": [licence],
        "base_model": origin, "adopted": {"origin": origin, "licence": licence}, **taken.about,
    }


def _write(run: Run, asked: Asked, written: list[Path], files: dict[str, bytes], taken: Taken) -> None:
    """The parts: graph, encoder, the weights as they came, the maker's card."""
    for one in written:
        with run.part(one.name) as path:
            path.write_bytes(one.read_bytes()) if one.stat().st_size < 2**28 else one.replace(path)
    for name, data in files.items():
        run.write_bytes(f"encoder/{name}", data)
    for name, data in taken.parts.items():
        run.write_bytes(name, data)
    if asked.place.is_dir() and not taken.parts:
        for name in (CONFIG, WEIGHTS):
            run.write_bytes(f"weights/{name}", (asked.folder / name).read_bytes())
    if (asked.folder / CARD).is_file():
        run.write_bytes("origin-card.md", (asked.folder / CARD).read_bytes())


def _config(place: Path, task: Kind) -> dict[str, Any]:
    """config.json of the folder, after what must be there was found."""
    folder = place if place.is_dir() else place.parent
    beside = () if task == "image_classification" else (TOKENIZER,)
    wanted = (CONFIG, WEIGHTS, *beside) if place.is_dir() else beside
    if not place.exists():
        raise MofangError("adopt-missing", place=str(place), name=place.name)
    if place.suffix in PICKLED or (place.is_dir() and not (folder / WEIGHTS).is_file()
                                   and any(one.suffix in PICKLED for one in folder.iterdir())):
        raise MofangError("adopt-pickle", place=str(place))
    for name in wanted:
        if not (folder / name).is_file():
            raise MofangError("adopt-missing", place=str(place), name=name)
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8")) if (folder / CONFIG).is_file() else {}
    except ValueError as error:
        raise MofangError("adopt-unsuited", reason=f"{CONFIG}: {error}") from error
    if not isinstance(found, dict):
        raise MofangError("adopt-unsuited", reason=f"{CONFIG} is no object")
    if found.get("problem_type") not in (None, "single_label_classification"):
        raise MofangError("adopt-unsuited", reason=f"problem_type {found['problem_type']}")
    return found


def _tried(taken: Taken, about: dict[str, Any], graph: Path) -> dict[str, Any]:
    """That the graph answers, and with probabilities where it should; how far it is from the weights on a few requests."""
    signature = cast(Signature, {name: about[name] for name in ("task", "inputs", "labels")})
    records = task_named(about["task"]).canonical(signature, taken.encoder, TRIED, 0)
    arrays = taken.encoder.encode(records)
    try:
        found = run_graph(OnnxRuntime(graph, 0), taken.encoder, arrays)
        wanted = found if taken.answers is None else run_graph(cast(Runtime, _Itself(taken.answers)), taken.encoder, arrays)
    except failures() as error:
        raise MofangError("adopt-unsuited", reason=str(error).splitlines()[0][:200]) from error
    if (said := found.get("probabilities")) is not None and said.ndim == 2 and (
            said.shape != (len(records), len(taken.labels)) or not np.allclose(said.sum(axis=1), 1, atol=1e-3)
            or (said < -1e-6).any()):
        raise MofangError("adopt-unsuited", reason="its answers are no probabilities of these labels")
    largest = {name: max(1.0, float(np.abs(one).max(initial=0.0))) for name, one in wanted.items()}
    apart = max(float(np.abs(found[name] - one).max(initial=0.0)) / largest[name] for name, one in wanted.items())
    if not apart <= DIFFERENCE_MAX:
        raise MofangError("export-differs", difference=f"{apart:.2g}", limit=DIFFERENCE_MAX)
    return {"max_abs_difference": apart}


class _Itself:
    """What answers as a model's own weights do, in the place of an engine."""

    def __init__(self, run: Answers) -> None:
        self.run = run
