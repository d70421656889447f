"""Averaged n-gram embeddings with a small head: cheap to train and to run, and it shares strength between
classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.scale import ENDS, outputs_of, scaled
from mofang.fit.size import Size

GRAMS = {"en": 2.4, "zh": 2.2}  # known n-grams for each character of a text
STEPS, EPOCHS_LEAST = 1300, 4  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class Averaged(Family):
    """The weighted sum of learned n-gram embeddings of ``width``, then one hidden layer."""

    tag: ClassVar[str] = "averaged"
    version: ClassVar[int] = 3
    shortens: ClassVar[bool] = True
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "text_regression", "text_multilabel")
    varies: ClassVar[bool] = True

    terms: Annotated[int, Field(ge=1)] = 150_000
    width: Annotated[int, Field(ge=1)] = 64
    hidden: Annotated[int, Field(ge=1)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    batch: Annotated[int, Field(ge=1)] = 64
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn the embeddings and the head together."""
        from mofang.engine.encode.ngrams import NgramEncoder
        from mofang.fit.loop.arrays import encode_ngrams
        from mofang.fit.loop.rowwise import fit_rows, plan_of

        train = material.train.records
        encoder = NgramEncoder.fit(train, material.columns("text"), max_terms=self.terms)
        encoded = encode_ngrams(encoder, train), encode_ngrams(encoder, material.validation.records)
        architecture = {"terms": encoder.size, "classes": outputs_of(material)}
        plan = plan_of(material, conditions, self._epochs(len(train)), self.learning_rate,
                       rows=self.batch, positions=1024 * self.batch, balance=self.balance)
        return fit_rows(
            lambda: self._network(architecture), encoder, encoded, material, plan, conditions, architecture
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """A weighted sum of embeddings and two dense layers."""
        from safetensors.numpy import load

        from mofang.engine.graphs import averaged_graph
        from mofang.fit.loop.start import WEIGHTS

        found = load(weights[WEIGHTS])
        layers = [(found[f"{name}.weight"].T, found[f"{name}.bias"]) for name in ("hidden", "head")]
        return averaged_graph(found["table"], scaled(layers, architecture), end=ENDS[architecture.get("target", "class")])

    def estimate(self, size: Size) -> Estimate:
        """Each step updates the rows of the table that its batch read: 12 operations a weight, which memory slows to a
        fiftieth of the best rate.
        """
        steps = self._epochs(size.rows) * size.rows / self.batch
        encoding_s = size.rows * size.length * 3 / 1e6
        touched = min(self.terms, self.batch * size.length * GRAMS.get(size.language, 1.0))
        return Estimate(6.0 + encoding_s + 0.004 * steps, 50 * 12 * touched * self.width * steps)

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.averaged import AveragedNetwork

        return AveragedNetwork(
            architecture["terms"], self.width, self.hidden, architecture["classes"], self.dropout
        )

    def _epochs(self, rows: int) -> int:
        return passes(self.epochs, rows, self.batch, STEPS, EPOCHS_LEAST)
