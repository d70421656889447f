"""Take in a model that was trained elsewhere: a folder of safetensors or an ONNX file becomes a graph like any other.

Nothing of it is run that could do more than compute: no pickle, no code of its own, no operators that are not standard, no
weights outside its folder. What it was trained on is not known here, so its licence and origin must be said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import OnDisk, stage
from mofang.engine.arrays import Array
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.graphfile import check_graph
from mofang.engine.measure import compare_outputs
from mofang.engine.runtimes.onnx import OnnxRuntime
from mofang.engine.task import Signature, task_named
from mofang.fit.export import DIFFERENCE_MAX, Graph

if TYPE_CHECKING:
    from onnx import ModelProto

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "README.md"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5")
GRAPH_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
REQUESTS = 1000
BATCH = 16


def content_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """The bytes of what is taken in, so that another model under the same name is another run."""
    source = Path(settings["source"])
    folder = source if source.is_dir() else source.parent
    wanted = [folder / name for name in (CONFIG, WEIGHTS, TOKENIZER, CARD)] + ([] if source.is_dir() else [source])
    return digest_of({path.name: file_digest(path) for path in wanted if path.is_file()})


@stage(version=1, source_digest=content_digest)
def adopt(run: Run, *, source: Annotated[str, OnDisk()], licence: str, origin: str,
          task: Literal["text_classification"] = "text_classification", labels: tuple[str, ...] = (), text: str = "text",
          label: str = "label", max_length: Annotated[int, Field(ge=8, le=8192)] = 128,
          gives: Literal["logits", "probabilities"] = "logits") -> Graph:
    """Take in a classifier of texts that was trained elsewhere, as a graph that can be evaluated, packaged, served and sold.

    ``source`` is a folder with config.json, model.safetensors and tokenizer.json (BERT and its like), or an ONNX file with
    tokenizer.json beside it whose inputs are input_ids and attention_mask. ``licence`` and ``origin`` are yours to say;
    ``labels`` in the model's own order (left out: those that its configuration names). Pickled weights are never read. The
    graph must answer 1,000 made-up requests as the weights do.
    """
    place = Path(source)
    if not licence.strip() or not origin.strip():
        raise MofangError("adopt-unsaid")
    folder = place if place.is_dir() else place.parent
    config = _config(folder, place)
    named = _labels(labels, config)
    encoder = _encoder(folder, text, max_length, config)
    signature: Signature = {"task": task, "inputs": [{"name": text, "role": "text"}], "labels": named}
    records = task_named(task).canonical(signature, encoder, REQUESTS, 0)
    with run.progress("Taking the model in", "接收模型"):
        if place.is_dir():
            graph, answers = _from_weights(folder, encoder, records, len(named))
        else:
            graph, answers = _from_graph(place, len(named), gives), None
    with run.part("model.onnx") as path:
        path.write_bytes(graph)
        check_graph(path, place.name)
        evidence = _proved(path, encoder, records, answers, len(named))
    for name, data in encoder.save().items():
        run.write_bytes(f"encoder/{name}", data)
    for name in (CONFIG, WEIGHTS) if place.is_dir() else ():
        run.write_bytes(f"weights/{name}", (folder / name).read_bytes())
    if (folder / CARD).is_file():
        run.write_bytes("origin-card.md", (folder / CARD).read_bytes())
    run.licence(licence)
    run.write_json("about.json", {
        "format": 1, **signature, "label": label, "operators": [], "headline": "accuracy",
        "family": {"tag": "adopted", "version": 1, "kind": str(config.get("model_type", "onnx"))},
        "encoder": {"name": encoder.name, "version": encoder.version}, "licences": [licence], "parity": evidence,
        "base_model": origin, "adopted": {"origin": origin, "licence": licence},
    })
    run.measure(size_bytes=len(graph), **evidence)
    return run.result(Graph)


def _config(folder: Path, place: Path) -> dict[str, Any]:
    """config.json of the folder, after what must be there was found."""
    wanted = (CONFIG, WEIGHTS, TOKENIZER) if place.is_dir() else (TOKENIZER,)
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


def _labels(given: tuple[str, ...], config: dict[str, Any]) -> list[str]:
    """The labels in the model's order; raises ``adopt-labels``."""
    said = config.get("id2label")
    own = [str(said[key]) for key in sorted(said, key=int)] if isinstance(said, dict) and all(
        str(key).isdigit() for key in said) else []
    if given and own and len(given) != len(own):
        raise MofangError("adopt-labels", given=", ".join(given), model=", ".join(own))
    found = list(given) or own
    if len(found) < 2 or len(set(found)) != len(found):
        raise MofangError("adopt-labels", given=", ".join(given) or "-", model=", ".join(own) or "-")
    return found


def _encoder(folder: Path, text: str, max_length: int, config: dict[str, Any]) -> TokenEncoder:
    """The tokenizer that came with the model."""
    most = config.get("max_position_embeddings", max_length)
    padding = config.get("pad_token_id")
    longest = min(max_length, most - (2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0))
    encoder = TokenEncoder.wrap((folder / TOKENIZER).read_text(encoding="utf-8"), (text,), max_length=longest,
                                padding_id=padding if isinstance(padding, int) else 0)
    try:
        encoder.ids([{text: "ok"}])
    except Exception as error:
        raise MofangError("adopt-unsuited", reason=f"{TOKENIZER}: {error}") from error
    return encoder


def _from_weights(folder: Path, encoder: TokenEncoder, records: list[dict[str, Any]], classes: int) -> tuple[bytes, Array]:
    """The graph of a folder of safetensors, and what the weights themselves answer: float32 [N, K]."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    from mofang.fit.networks.adopted import Adopted
    from mofang.fit.networks.graph import network_graph

    try:
        body = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, attn_implementation="eager",
            dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, TypeError, SafetensorError) as error:
        raise MofangError("adopt-unsuited", reason=(str(error).splitlines() or [type(error).__name__])[0][:200]) from error
    network = Adopted(body).eval()
    found = []
    with torch.inference_mode():
        for begin in range(0, len(records), BATCH):
            arrays = encoder.encode(records[begin:begin + BATCH])
            logits = network(**{name: torch.from_numpy(array) for name, array in arrays.items()})
            found.append(torch.softmax(logits, dim=-1).numpy())
    answers = np.concatenate(found)
    if answers.shape[1] != classes:
        raise MofangError("adopt-labels", given=str(classes), model=str(answers.shape[1]))
    return network_graph(network, encoder.encode(records[:2])), answers


def _from_graph(place: Path, classes: int, gives: str) -> bytes:
    """An ONNX file with its weights inside and "probabilities" at its end."""
    import onnx
    from onnx import TensorProto, helper

    try:
        model = onnx.load(str(place), load_external_data=False)
    except Exception as error:
        raise MofangError("graph-unreadable", name=place.name) from error
    _bring_in(model, place)
    graph = model.graph
    fixed = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in fixed]
    names = [one.name for one in inputs]
    if not {"input_ids", "attention_mask"} <= set(names) <= set(GRAPH_INPUTS) or any(
            one.type.tensor_type.elem_type != TensorProto.INT64 for one in inputs):
        raise MofangError("adopt-unsuited", reason=f"its inputs are {', '.join(names) or '-'}, not input_ids and attention_mask")
    if "token_type_ids" in names:
        graph.input.remove(next(one for one in inputs if one.name == "token_type_ids"))
        graph.initializer.append(helper.make_tensor("mofang_zero", TensorProto.INT64, [], [0]))
        graph.node.insert(0, helper.make_node("Mul", ["input_ids", "mofang_zero"], ["token_type_ids"]))
    last = graph.output[0].name
    while len(graph.output):
        graph.output.pop()
    if last == "probabilities":
        for node in graph.node:
            node.output[:] = ["mofang_last" if one == last else one for one in node.output]
            node.input[:] = ["mofang_last" if one == last else one for one in node.input]
        last = "mofang_last"
    graph.node.append(helper.make_node("Softmax", [last], ["probabilities"], axis=-1) if gives == "logits"
                      else helper.make_node("Identity", [last], ["probabilities"]))
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]))
    return bytes(model.SerializeToString(deterministic=True))


def _bring_in(model: ModelProto, place: Path) -> None:
    """Weights that lie in files beside the graph; a path that leaves the folder is refused before it is opened."""
    from onnx import TensorProto
    from onnx import external_data_helper as outside

    folder = place.parent.resolve()
    for tensor in outside._get_all_tensors(model):
        if not outside.uses_external_data(tensor):
            continue
        said = next((one.value for one in tensor.external_data if one.key == "location"), "")
        target = folder / said
        plain = said and not Path(said).is_absolute() and ".." not in Path(said).parts and not target.is_symlink()
        if not plain or not target.is_file() or folder not in target.resolve().parents:
            raise MofangError("graph-external", name=said or place.name)
        outside.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _proved(path: Path, encoder: TokenEncoder, records: list[dict[str, Any]], answers: Array | None,
            classes: int) -> dict[str, Any]:
    """How far the graph's answers are from the weights' own; of a graph that came alone, that its answers are ones at all."""
    runtime = OnnxRuntime(path, 0)
    found = []
    for begin in range(0, len(records), BATCH):
        try:
            found.append(runtime.run(encoder.encode(records[begin:begin + BATCH]))["probabilities"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise MofangError("adopt-unsuited", reason=str(error).splitlines()[0][:200]) from error
    said = np.concatenate(found)
    if said.shape != (len(records), classes) or not np.allclose(said.sum(axis=1), 1, atol=1e-3) or (said < -1e-6).any():
        raise MofangError("adopt-unsuited", reason="its answers are no probabilities of these labels")
    if answers is None:
        return {"rows": len(records), "max_abs_difference": 0.0, "label_agreement": 1.0}
    parity = compare_outputs({"probabilities": said}, {"probabilities": answers})
    if parity.max_abs_difference > DIFFERENCE_MAX:
        raise MofangError("export-differs", difference=f"{parity.max_abs_difference:.2g}", limit=DIFFERENCE_MAX)
    return {"rows": len(records), "max_abs_difference": parity.max_abs_difference, "label_agreement": parity.label_agreement}
