"""What a model from elsewhere is taken in as, kind by kind: its graph, its encoder, its labels, and what itself answers.

A folder is read by transformers without running code of its own; an ONNX file is read and given the ends that its task has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Encoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.fit.adoptedgraph import image_graph, text_graph
from mofang.fit.replayed import Answers

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "README.md"
PIXELS = "preprocessor_config.json"
POOLING = "1_Pooling/config.json"
OFFSET = ("roberta", "xlm-roberta", "camembert")  # their positions begin behind the padding's number
SAMPLE = 2
BILINEAR = 2


@dataclass(frozen=True)
class Asked:
    """What was said of the model: where it lies, and how it shall be read."""

    place: Path
    config: dict[str, Any]
    labels: tuple[str, ...]
    column: str
    max_length: int
    gives: str

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.place if self.place.is_dir() else self.place.parent


@dataclass(frozen=True)
class Taken:
    """A model, read: ``answers`` is None for one that has no other form than its graph."""

    graph: bytes | ModelProto
    encoder: Encoder
    labels: list[str]
    answers: Answers | None = None
    weights: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)


def classifier(asked: Asked) -> Taken:
    """One label for each text."""
    labels = labels_of(asked.labels, asked.config)
    encoder = tokens_of(asked)
    if not asked.place.is_dir():
        return Taken(text_graph(asked.place, len(labels), asked.gives), encoder, labels)
    from mofang.fit.networks.adopted import Adopted

    body = _body(asked.folder, "AutoModelForSequenceClassification")
    if body.config.num_labels != len(labels):
        raise MofangError("adopt-labels", given=str(len(labels)), model=str(body.config.num_labels))
    return _captured(Adopted(body), encoder, labels, {asked.column: "a b"}, {})


def vectors(asked: Asked) -> Taken:
    """A vector of length 1 for each text: the mean of an encoder's states, or its first one where the folder says so."""
    from mofang.engine.decode.positives import OUTPUT
    from mofang.fit.networks.adopted import AdoptedVectors

    _folder_only(asked)
    said = _json(asked.folder / POOLING)
    first, mean = said.get("pooling_mode_cls_token", False), said.get("pooling_mode_mean_tokens", not said)
    modules = [str(one.get("type", "")).rpartition(".")[2] for one in _json(asked.folder / "modules.json", list)]
    odd = [one for one in modules if one not in ("Transformer", "Pooling", "Normalize")]
    if odd or first == mean:
        raise MofangError("adopt-unsuited", reason=", ".join(odd) or f"{POOLING}: neither mean nor first token")
    network = AdoptedVectors(_body(asked.folder, "AutoModel"), first=bool(first))
    return _captured(network, tokens_of(asked), [], {asked.column: "a b"}, {"named": OUTPUT})


def tagger(asked: Asked) -> Taken:
    """A tag for each piece of a text; the model must begin spans with B- and go on with I-."""
    from mofang.engine.encode.places import PlaceEncoder
    from mofang.fit.networks.adopted import Adopted

    _folder_only(asked)
    tags = _named(asked.config)
    labels = list(dict.fromkeys(one[2:] for one in tags if one.startswith("B-")))
    wanted = ["O", *(f"{sign}-{label}" for label in labels for sign in "BI")]
    if not labels or sorted(wanted) != sorted(tags):
        raise MofangError("adopt-labels", given=", ".join(wanted), model=", ".join(tags) or "-")
    tokens = tokens_of(asked)
    encoder = PlaceEncoder(asked.column, tokens.tokenizer_json, max_length=tokens.max_length, padding_id=tokens.padding_id,
                           types=False)
    network = Adopted(_body(asked.folder, "AutoModelForTokenClassification"), [tags.index(one) for one in wanted])
    return _captured(network, encoder, labels, {asked.column: "a b"}, {"each": True})


def images(asked: Asked) -> Taken:
    """One label for each image: an ONNX file of pixels with what its maker scaled them by."""
    from mofang.engine.encode.image import ImageEncoder

    labels, said = labels_of(asked.labels, asked.config), _json(asked.folder / PIXELS)
    if asked.place.is_dir() or not said:
        raise MofangError("adopt-missing", place=str(asked.place), name=PIXELS if said == {} else "model.onnx")
    if said.get("do_center_crop") or said.get("resample", BILINEAR) != BILINEAR:
        raise MofangError("adopt-unsuited", reason=f"{PIXELS}: images are only scaled here, bilinearly")
    graph, (channels, height, width) = image_graph(asked.place, len(labels), asked.gives, said.get("size"))
    part = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
    plain = not said.get("do_normalize", True)
    mean, spread = ([0.0] * channels, [1.0] * channels) if plain else (said.get("image_mean"), said.get("image_std"))
    if not mean or not spread or len(mean) != channels or len(spread) != channels:
        raise MofangError("adopt-unsuited", reason=f"{PIXELS}: image_mean and image_std of {channels} channels")
    encoder = ImageEncoder(asked.column, height, width, channels, tuple(float(one) / part for one in mean),
                           tuple(float(one) / part for one in spread))
    return Taken(graph, encoder, labels)


def generator(asked: Asked) -> Taken:
    """A decoder of the GPT or Llama type that writes."""
    from safetensors import SafetensorError

    from mofang.engine.generation.shape import shape_of
    from mofang.fit.generation.fitting import NEXT, encoder_of, weights_of
    from mofang.fit.loop.start import WEIGHTS as KEPT
    from mofang.fit.networks.generator import from_folder

    _folder_only(asked)
    shape_of(asked.config)
    try:
        network, config = from_folder(asked.folder, "eager")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise MofangError("adopt-unsuited", reason=_line(error)) from error
    encoder = encoder_of(asked.folder, config, (asked.column,), asked.max_length, "")
    taken = _captured(network.eval(), encoder, [], {asked.column: "a b"}, {"named": NEXT})
    return Taken(taken.graph, encoder, [], taken.answers, taken.weights, {"architecture": {"config": config}},
                 {KEPT: weights_of(network)})


KINDS: dict[str, Callable[[Asked], Taken]] = {
    "text_classification": classifier, "text_embedding": vectors, "token_classification": tagger,
    "image_classification": images, "text_generation": generator,
}


def labels_of(given: tuple[str, ...], config: dict[str, Any]) -> list[str]:
    """The labels in the model's order; raises ``adopt-labels``."""
    own = _named(config)
    if given and own and len(given) != len(own):
        raise MofangError("adopt-labels", given=", ".join(given), model=", ".join(own))
    found = list(given) or own
    if len(found) < 2 or len(set(found)) != len(found):
        raise MofangError("adopt-labels", given=", ".join(given) or "-", model=", ".join(own) or "-")
    return found


def tokens_of(asked: Asked) -> TokenEncoder:
    """The tokenizer that came with the model."""
    config, max_length = asked.config, asked.max_length
    most = config.get("max_position_embeddings", max_length)
    padding = config.get("pad_token_id")
    longest = min(max_length, most - (2 if config.get("model_type") in OFFSET else 0))
    encoder = TokenEncoder.wrap((asked.folder / TOKENIZER).read_text(encoding="utf-8"), (asked.column,), max_length=longest,
                                padding_id=padding if isinstance(padding, int) else 0)
    try:
        encoder.ids([{asked.column: "ok"}])
    except Exception as error:  # the library raises the base class itself
        raise MofangError("adopt-unsuited", reason=f"{TOKENIZER}: {error}") from error
    return encoder


def _named(config: dict[str, Any]) -> list[str]:
    said = config.get("id2label")
    plain = isinstance(said, dict) and all(str(key).isdigit() for key in said)
    return [str(said[key]) for key in sorted(said, key=int)] if plain and isinstance(said, dict) else []


def _captured(network: nn.Module, encoder: Encoder, labels: list[str], record: dict[str, Any], ends: dict[str, Any]) -> Taken:
    """The graph of a network, and the network itself to hold it against."""
    from mofang.engine.outputs import graph_arrays
    from mofang.fit.networks.graph import capturing, network_graph

    sample: Arrays = graph_arrays(encoder.encode([record] * SAMPLE))
    with capturing() as found:
        graph = network_graph(network.eval(), sample, **ends)
    return Taken(graph, encoder, labels, found[0].answers, found[0].weights)


def _body(folder: Path, kind: str) -> Any:
    """The network of a folder, in float32, with none of the folder's code."""
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        return getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, attn_implementation="eager",
            dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, TypeError, SafetensorError) as error:
        raise MofangError("adopt-unsuited", reason=_line(error)) from error


def _folder_only(asked: Asked) -> None:
    if not asked.place.is_dir():
        raise MofangError("adopt-unsuited", reason=f"{asked.place.name}: a folder of safetensors is wanted for this task")


def _json(path: Path, kind: type = dict) -> Any:
    """What a file of the folder says, or nothing where it is not there."""
    if not path.is_file():
        return kind()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MofangError("adopt-unsuited", reason=f"{path.name}: {error}") from error
    if not isinstance(found, kind):
        raise MofangError("adopt-unsuited", reason=f"{path.name} is no {kind.__name__}")
    return found


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
