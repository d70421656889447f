"""Vectors from n-gram embeddings: a text is the weighted sum of its terms, learned so that what belongs together is close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.size import Size

STEPS, EPOCHS_LEAST = 1500, 4  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class TermVectors(Family):
    """Averaged n-gram embeddings of ``width``: a few minutes to train, microseconds to use.

    ``nested`` are shorter lengths at which the vectors shall serve too.
    """

    tag: ClassVar[str] = "termvectors"
    tasks: ClassVar[tuple[str, ...]] = ("text_embedding",)

    terms: Annotated[int, Field(ge=1)] = 150_000
    width: Annotated[int, Field(ge=2)] = 256
    nested: tuple[int, ...] = ()
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    batch: Annotated[int, Field(ge=2)] = 128

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn the table of terms from texts and what belongs to them."""
        from mofang.engine.decode.positives import read_positive
        from mofang.engine.encode.ngrams import NgramEncoder
        from mofang.fit.loop.arrays import encode_ngrams
        from mofang.fit.loop.loop import Plan
        from mofang.fit.vectors.contrast import dims_of
        from mofang.fit.vectors.fitting import fit_vectors

        column = material.columns("text")[0]
        texts = [{column: read_positive(one).text} for one in material.train.targets]
        encoder = NgramEncoder.fit([*material.train.records, *texts], (column,), max_terms=self.terms)
        architecture = {"terms": encoder.size, "dims": self.width}
        plan = Plan(
            passes(self.epochs, len(material.train), self.batch, STEPS, EPOCHS_LEAST),
            self.learning_rate,
            rows=self.batch,
            weight_decay=0.0,
            patience=3,
            seed=conditions.seed,
            seconds=conditions.seconds,
        )
        return fit_vectors(
            lambda: self._network(architecture),
            encoder,
            lambda records: encode_ngrams(encoder, records),
            material,
            plan,
            conditions,
            architecture,
            temperature=self.temperature,
            nested=dims_of(self.nested, self.width),
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The table with its sum and norm as ONNX."""
        from mofang.engine.decode.positives import OUTPUT
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph

        return network_graph(restored(self._network(architecture), weights[WEIGHTS]), sample, named=OUTPUT)

    def estimate(self, size: Size) -> Estimate:
        """Each step updates the whole table of terms."""
        steps = passes(self.epochs, size.rows, self.batch, STEPS, EPOCHS_LEAST) * size.rows / self.batch
        table = min(self.terms, size.rows * size.length) * self.width
        return Estimate(3.0 + 2e-5 * size.rows * size.length, 60 * table * steps)

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.vectors import TermVectors as Network

        return Network(architecture["terms"], architecture["dims"])
