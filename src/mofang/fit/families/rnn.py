"""A recurrent network with embeddings of its own: it reads a text token by token, so it knows their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size

TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}
STEPS, EPOCHS_LEAST = 1500, 4  # without a chosen number of epochs
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, kw_only=True)
class Rnn(Family):
    """A plain recurrent network, an LSTM or a GRU over tokens, read in one direction or in both."""

    tag: ClassVar[str] = "rnn"
    version: ClassVar[int] = 1
    shortens: ClassVar[bool] = True
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    varies: ClassVar[bool] = True

    kind: Literal["rnn", "gru", "lstm"] = "gru"
    bidirectional: bool = True
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    width: Annotated[int, Field(ge=1)] = 96
    embedding: Annotated[int, Field(ge=1)] = 128
    vocabulary: Annotated[int, Field(ge=100)] = 12_000
    max_length: Annotated[int, Field(ge=8, le=4096)] = 200
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    tokens: Annotated[int, Field(ge=64)] = 4096
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn the vocabulary, then the embeddings, the recurrent layers and the head together."""
        from mofang.engine.encode.tokens import TokenEncoder
        from mofang.fit.loop.arrays import encode_tokens
        from mofang.fit.loop.rowwise import fit_rows, plan_of
        from mofang.fit.scale import outputs_of

        train = material.train.records
        encoder = TokenEncoder.fit(train, material.columns("text"), vocabulary=self.vocabulary, max_length=self.max_length)
        encoded = encode_tokens(encoder, train), encode_tokens(encoder, material.validation.records)
        architecture = {"terms": encoder.size, "classes": outputs_of(material)}
        plan = plan_of(material, conditions, self._epochs(len(train), float(encoded[0].lengths.mean())), self.learning_rate,
                       positions=self.tokens, balance=self.balance)
        return fit_rows(lambda: self._network(architecture), encoder, encoded, material, plan, conditions, architecture)

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The trained network as ONNX; texts of any length."""
        from mofang.fit.loop.rowwise import finished_graph
        from mofang.fit.loop.start import WEIGHTS, restored

        return finished_graph(restored(self._network(architecture), weights[WEIGHTS]), sample, architecture)

    def estimate(self, size: Size) -> Estimate:
        """A recurrent step works through the positions one after the other, so its time is counted in them."""
        tokens = min(size.length * TOKENS_PER_CHARACTER.get(size.language, 1.0) + 2, self.max_length)
        epochs = self._epochs(size.rows, tokens)
        each = 2 * GATES[self.kind] * (self.width + self.embedding) * self.width * (2 if self.bidirectional else 1) * self.layers
        steps = epochs * size.rows * tokens / self.tokens
        return Estimate(6.0 + 0.02 * steps, 3 * 8 * each * tokens * size.rows * epochs)

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.recurrent import RecurrentNetwork

        return RecurrentNetwork(
            architecture["terms"], architecture["classes"], kind=self.kind, width=self.width, layers=self.layers,
            bidirectional=self.bidirectional, embedding=self.embedding, dropout=self.dropout,
        )

    def _epochs(self, rows: int, tokens: float) -> int:
        return passes(self.epochs, rows, max(1, min(64, round(self.tokens / tokens))), STEPS, EPOCHS_LEAST)
