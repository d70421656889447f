"""A small BERT-type encoder, trained from nothing on the task's own texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size

TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}

STEPS, EPOCHS_LEAST = 3000, 4  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class Encoder(Family):
    """A transformer encoder of ``layers`` x ``width`` with its own vocabulary; Chinese characters are
    tokens. With ``windows`` a text longer than ``max_length`` is read in so many windows that share ``overlap`` tokens, and
    answered with the mean (``over``) or the maximum of their answers. ``masked_steps`` lets it first guess hidden words of the
    training texts (and of unlabelled ones) for so many steps.
    """

    tag: ClassVar[str] = "encoder"
    version: ClassVar[int] = 4
    shortens: ClassVar[bool] = True
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    varies: ClassVar[bool] = True

    layers: Annotated[int, Field(ge=1, le=48)] = 2
    width: Annotated[int, Field(ge=8)] = 128
    heads: Annotated[int, Field(ge=1)] = 4
    vocabulary: Annotated[int, Field(ge=100)] = 8000
    max_length: Annotated[int, Field(ge=8, le=512)] = 160
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    tokens: Annotated[int, Field(ge=64)] = 2048
    attention: str = "auto"
    balance: bool = False
    masked_steps: Annotated[int, Field(ge=0)] = 0
    windows: Annotated[int, Field(ge=1, le=64)] = 1
    overlap: Annotated[int, Field(ge=0)] = 16
    over: Literal["mean", "max"] = "mean"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn the vocabulary, then the encoder and its head together."""
        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.fit.loop.plan import Plan
        from mofang.fit.loop.rowwise import balance_of, encode_texts, fit_rows, windowed
        from mofang.fit.scale import outputs_of

        train = material.train.records
        tokens = TokenEncoder.fit(
            train, material.columns("text"), vocabulary=self.vocabulary, max_length=self.max_length
        )
        encoder = windowed(tokens, self.windows, self.overlap, self.over)
        encoded = encode_texts(encoder, train), encode_texts(encoder, material.validation.records)
        config = {
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
        architecture = {"config": config, "classes": outputs_of(material)}
        plan = Plan(
            self._epochs(len(train), float(encoded[0].lengths.mean())),
            self.learning_rate,
            rows=64,
            positions=self.tokens,
            patience=2,
            seed=conditions.seed,
            seconds=conditions.seconds,
            class_weights=balance_of(material, self.balance),
        )
        build, told = partial(self._network, architecture), dict[str, Any]()
        if self.masked_steps:
            from mofang.fit.loop.masking import guess_first

            read = [*train, *conditions.unlabelled], material.validation.records
            body, told = guess_first(build, tokens, read, plan, self.masked_steps, conditions)
            build = partial(self._started, architecture, body)
            plan = replace(plan, seconds=plan.seconds / 2)
        fitted = fit_rows(build, encoder, encoded, material, plan, conditions, architecture)
        return replace(fitted, notes=fitted.notes | told)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The trained encoder with its head as ONNX."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored

        return finished_graph(restored(self._network(architecture), weights[WEIGHTS]), sample, architecture)

    def estimate(self, size: Size) -> Estimate:
        """12 width^2 weights a layer, 6 operations a weight and token; half the machine's best rate is
        reached.
        """
        tokens = min(size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 2, self.max_length)
        per_token = 6 * 12 * self.width**2 * self.layers + 12 * self.layers * self.width * tokens
        steps = self._epochs(size.rows, tokens) * size.rows * tokens / self.tokens
        return Estimate(
            8.0 + 0.01 * steps, 2 * per_token * tokens * size.rows * self._epochs(size.rows, tokens)
        )

    def _epochs(self, rows: int, tokens: float) -> int:
        return passes(self.epochs, rows, max(1, round(self.tokens / tokens)), STEPS, EPOCHS_LEAST)

    def _started(self, architecture: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
        network = self._network(architecture)
        network.body.load_state_dict(body)
        return network

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.transformer import from_config

        return from_config(architecture["config"], architecture["classes"], self.dropout, self.attention)
