"""A generator of text: a decoder of the GPT or Llama type that learns to answer prompts and conversations."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.core.canonical import digest_of, file_digest
from mofang.core.errors import MofangError
from mofang.core.stage import OnDisk
from mofang.engine.arrays import Arrays
from mofang.fit.families.pretrained import NEEDED, TOKENS_PER_CHARACTER, base_folder, base_licences
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size

STEPS, EPOCHS_LEAST = 1000, 2  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class Generator(Family):
    """A decoder that learns the answers of prompts or conversations, and nothing of what it is asked.

    ``base`` is a folder of a GPT-2, Llama, Mistral or Qwen type model; left out (and no base given), a Llama-type decoder of
    ``layers`` x ``width`` with its own vocabulary learns from nothing. ``adapt`` learns all weights, or low-rank additions
    (LoRA) of ``rank``, which are merged at the end. ``template`` is a chat template; left out, the base's own or Mofang's.
    """

    tag: ClassVar[str] = "generator"
    version: ClassVar[int] = 2
    tasks: ClassVar[tuple[str, ...]] = ("text_generation",)
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = ""
    adapt: Literal["all", "lora"] = "all"
    rank: Annotated[int, Field(ge=1, le=512)] = 8
    template: str = ""
    layers: Annotated[int, Field(ge=1, le=128)] = 4
    width: Annotated[int, Field(ge=8)] = 256
    heads: Annotated[int, Field(ge=1)] = 4
    vocabulary: Annotated[int, Field(ge=300)] = 8000
    max_length: Annotated[int, Field(ge=8)] = 256
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    tokens: Annotated[int, Field(ge=64)] = 2048
    attention: str = "sdpa"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn the answers; validation chooses the best weights by their likelihood."""
        from mofang.fit.generation.answers import Answers, read_conversations
        from mofang.fit.generation.fitting import Adapting, fit_generator, sample_of
        from mofang.fit.loop.loop import Plan

        folder = conditions.base or (base_folder(self.base) if self.base else None)
        encoder, config = self._begin(material, folder)
        train, validation = (
            read_conversations(encoder, part.records, part.targets) for part in (material.train, material.validation)
        )
        plan = Plan(
            self._epochs(len(train), float(train.lengths.mean())),
            self.learning_rate or (1e-3 if folder is None else 3e-4 if self.adapt == "lora" else 5e-5),
            rows=64,
            positions=self.tokens,
            patience=2,
            seed=conditions.seed,
            seconds=conditions.seconds,
        )
        fitted = fit_generator(
            lambda: self._network(config, folder),
            encoder,
            Answers(train, validation, self.max_length),
            sample_of(encoder, material.validation.records),
            plan,
            conditions,
            {"config": config},
            Adapting(self.adapt, self.rank),
        )
        if int(train.cut.sum()):
            cut = {"cut_rows": int((train.cut > 0).sum()), "cut_tokens": int(train.cut.sum())}
            fitted = dataclasses.replace(fitted, notes={**fitted.notes, **cut})
        if not self.base or conditions.base is not None:
            return fitted
        assert folder is not None
        return dataclasses.replace(fitted, licences=base_licences(self.base, folder), base_model=self.base)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """Ids and mask in, log-probabilities of the next token out: it rates, and proves that the weights travelled; writing
        needs the cache of the network itself."""
        from mofang.fit.generation.fitting import NEXT
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.generator import from_config
        from mofang.fit.networks.graph import network_graph

        network = from_config(architecture["config"], "eager")
        return network_graph(restored(network, weights[WEIGHTS]), sample, named=NEXT)

    def base_digest(self) -> str:
        """The content of the base model's files; "" where there is none."""
        try:
            folder = base_folder(self.base) if self.base else None
        except MofangError:
            folder = None
        return digest_of({name: file_digest(folder / name) for name in NEEDED}) if folder else ""

    def estimate(self, size: Size) -> Estimate:
        """6 operations a weight of the layers and token, 4 for low-rank additions."""
        config: dict[str, Any] = {}
        with contextlib.suppress(MofangError):
            config = _read(base_folder(self.base) / "config.json") if self.base else {}
        width = config.get("hidden_size", config.get("n_embd", self.width))
        layers = config.get("num_hidden_layers", config.get("n_layer", self.layers))
        words = config.get("vocab_size", self.vocabulary)
        tokens = min(2 * size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 8, self.max_length)
        share = 4 if self.adapt == "lora" else 6
        per_token = share * (12 * width**2 * layers + words * width) + 12 * layers * width * tokens
        passed = self._epochs(size.rows, tokens)
        return Estimate(8.0 + 0.02 * passed * size.rows * tokens / self.tokens, 2 * per_token * tokens * size.rows * passed)

    def _begin(self, material: Material, folder: Path | None) -> tuple[Any, dict[str, Any]]:
        """The encoder of conversations, and the configuration of the network."""
        from mofang.engine.encode.chat import ChatEncoder
        from mofang.fit.generation.answers import corpus_of
        from mofang.fit.generation.fitting import encoder_of

        columns = material.columns("text")
        if folder is not None:
            config = _read(folder / "config.json")
            return encoder_of(folder, config, columns, self.max_length, self.template), config
        corpus = corpus_of(material.train.records, material.train.targets, columns)
        encoder = ChatEncoder.fit(corpus, columns, vocabulary=self.vocabulary, max_length=self.max_length)
        if self.template:
            encoder = dataclasses.replace(encoder, template=self.template)
        return encoder, {
            "model_type": "llama",
            "vocab_size": encoder.size,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "intermediate_size": 8 * self.width // 3,
            "max_position_embeddings": self.max_length,
            "tie_word_embeddings": True,
            "pad_token_id": encoder.padding_id,
            "bos_token_id": None,
            "eos_token_id": min(encoder.ends),
        }

    def _network(self, config: dict[str, Any], folder: Path | None) -> Any:
        from mofang.fit.networks.generator import from_config, from_folder

        if folder is None:
            return from_config(config, self.attention)
        network, found = from_folder(folder, self.attention)
        config.update(found)
        return network

    def _epochs(self, rows: int, tokens: float) -> int:
        return passes(self.epochs, rows, max(1, round(self.tokens / max(tokens, 1))), STEPS, EPOCHS_LEAST)


def _read(path: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
