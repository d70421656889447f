"""Vectors from a transformer encoder: a pretrained one from a folder, a package or a pretraining run, or a small one of
one's own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.arrays import Arrays
from mofang.engine.encode import texts
from mofang.fit.families.pretrained import (
    COVERAGE_ROWS,
    NEEDED,
    TOKENS_PER_CHARACTER,
    base_folder,
    base_licences,
    require_coverage,
)
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size

STEPS, EPOCHS_LEAST = 1500, 2  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class TextVectors(Family):
    """The mean of an encoder's states, projected to ``dims`` (0: as wide as the encoder).

    ``base`` is a folder or ``package:NAME/FOLDER``; left out, an encoder of ``layers`` x ``width`` with its own vocabulary
    learns from nothing. ``nested`` are shorter lengths at which the vectors shall serve too.
    """

    tag: ClassVar[str] = "textvectors"
    version: ClassVar[int] = 3
    tasks: ClassVar[tuple[str, ...]] = ("text_embedding",)
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = ""
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    width: Annotated[int, Field(ge=8)] = 128
    heads: Annotated[int, Field(ge=1)] = 4
    vocabulary: Annotated[int, Field(ge=100)] = 8000
    dims: Annotated[int, Field(ge=0)] = 0
    nested: tuple[int, ...] = ()
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    batch: Annotated[int, Field(ge=2)] = 64
    attention: str = "auto"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn which texts belong together, all weights at once."""
        from mofang.fit.loop.arrays import encode_tokens
        from mofang.fit.loop.loop import Plan
        from mofang.fit.vectors.contrast import dims_of
        from mofang.fit.vectors.fitting import fit_vectors

        folder = conditions.base or (base_folder(self.base) if self.base else None)
        encoder, config = self._begin(material, folder)
        width = int(config["hidden_size"])
        architecture: dict[str, Any] = {"config": config, "dims": self.dims}
        plan = Plan(
            self._epochs(len(material.train)),
            self.learning_rate or (5e-5 if folder else 5e-4),
            rows=self.batch,
            patience=3,
            seed=conditions.seed,
            seconds=conditions.seconds,
        )
        fitted = fit_vectors(
            lambda: self._network(architecture, folder),
            encoder,
            lambda records: encode_tokens(encoder, records),
            material,
            plan,
            conditions,
            architecture,
            temperature=self.temperature,
            nested=dims_of(self.nested, self.dims or width),
        )
        if not self.base or conditions.base is not None:
            return fitted
        assert folder is not None
        return dataclasses.replace(fitted, licences=base_licences(self.base, folder), base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The encoder with its mean, projection and norm as ONNX."""
        from mofang.engine.decode.positives import OUTPUT
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph

        network = self._network(architecture, None)
        return network_graph(restored(network, weights[WEIGHTS]), sample, named=OUTPUT)

    def base_digest(self) -> str:
        """The content of the base model's files; "" where there is none."""
        try:
            folder = base_folder(self.base) if self.base else None
        except MofangError:
            folder = None
        return digest_of({name: file_digest(folder / name) for name in NEEDED}) if folder else ""

    def estimate(self, size: Size) -> Estimate:
        """Two texts a row; 6 operations a weight of the layers and token."""
        config = {"hidden_size": self.width, "num_hidden_layers": self.layers}
        with contextlib.suppress(MofangError):
            config = _config(base_folder(self.base)) if self.base else config
        width, layers = config["hidden_size"], config["num_hidden_layers"]
        tokens = min(size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 2, self.max_length)
        per_token = 6 * 12 * width**2 * layers + 12 * layers * width * tokens
        passed = self._epochs(size.rows)
        return Estimate(8.0 + 0.02 * passed * size.rows / self.batch, 4 * per_token * tokens * size.rows * passed)

    def _begin(self, material: Material, folder: Path | None) -> tuple[Any, dict[str, Any]]:
        """The encoder of texts, and the configuration of the network."""
        from mofang.engine.decode.positives import read_positive
        from mofang.engine.encode.tokens import TokenEncoder

        column = material.columns("text")[0]
        if folder is not None:
            require_coverage(self.base or folder.name, folder, texts(material.train.records[:COVERAGE_ROWS], (column,)))
            config = _config(folder)
            tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
            padding = config.get("pad_token_id") or 0
            return TokenEncoder.wrap(tokenizer, (column,), max_length=self.max_length, padding_id=padding), config
        beside = [{column: read_positive(one).text} for one in material.train.targets]
        encoder = TokenEncoder.fit(
            [*material.train.records, *beside], (column,), vocabulary=self.vocabulary, max_length=self.max_length
        )
        return encoder, {
            "model_type": "bert",
            "vocab_size": encoder.size,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.width,
            "max_position_embeddings": self.max_length,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": 0,
        }

    def _network(self, architecture: Mapping[str, Any], folder: Path | None) -> Any:
        from mofang.fit.networks.vectors import TextVectors as Network
        from mofang.fit.networks.vectors import body_of

        body, width = body_of(architecture["config"], folder, self.attention)
        return Network(body, width, architecture["dims"])

    def _epochs(self, rows: int) -> int:
        return passes(self.epochs, rows, self.batch, STEPS, EPOCHS_LEAST)


def _config(folder: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found
