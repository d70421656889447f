"""Multinomial logistic regression: on n-gram TF-IDF for texts, on standardised values for images and tables; ridge
regression for numbers, a yes or no for each of several labels.

It is the baseline beside every other family, and often hard to beat. Where rows, terms and classes are many,
three things keep it quick, and the model's notes name them: the vocabulary is counted on a sample of the
texts, rare terms are left out, and the strength of the penalty is chosen on a sample of the rows; the
weights are always learned from every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.fit.encoders import dense_encoder
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.scale import ENDS, outputs_of
from mofang.fit.size import Size
from mofang.fit.strength import Clock, Search
from mofang.fit.verdict import fitted_rows

TEXT_STRENGTHS = (1.0, 4.0, 16.0)
DENSE_STRENGTHS = (0.01, 0.1, 1.0)
WEIGHTS_MOST = 4_000_000  # terms x classes; beyond it the rarest terms are left out
TERMS_LEAST = 20_000
VOCABULARY_CHARACTERS, VOCABULARY_ROWS = 1_000_000, 20_000  # texts in which the terms are counted
PRODUCTS_MOST = 50_000_000  # non-zero values x classes of the rows on which the strength is chosen
GRAMS = {"en": 2.4, "zh": 2.2}  # known n-grams for each character of a text
VALUE_OPERATIONS, WEIGHT_OPERATIONS, DENSE_OPERATIONS = 120, 2500, 40  # of the machine's best rate
TEXT_PASSES, DENSE_PASSES = 70, 400
SEARCH_SHARE = 0.4  # of a time limit, for choosing the strength on a sample


@dataclass(frozen=True, kw_only=True)
class Linear(Family):
    """Logistic regression.

    ``c`` is the inverse strength of the L2 penalty; 0 tries three and lets validation choose. ``balance`` lets
    all classes count alike, however rare.
    """

    tag: ClassVar[str] = "linear"
    version: ClassVar[int] = 3
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = (
        "text_classification",
        "image_classification",
        "table_classification",
        "text_regression",
        "text_multilabel",
    )
    loops: ClassVar[bool] = False

    c: Annotated[float, Field(ge=0)] = 0.0
    terms: Annotated[int, Field(ge=1)] = 200_000
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn one weight per feature and class; when the time limit has passed, the best found so far
        stands.
        """
        clock = Clock(conditions.seconds)
        encoder, train, validation = _encoded(self, material)
        strengths = (self.c,) if self.c else TEXT_STRENGTHS if material.columns("text") else DENSE_STRENGTHS
        search = Search(material, train, validation, self.balance, PRODUCTS_MOST)
        sampled = search.sample(conditions.seed) if len(strengths) > 1 else None
        with conditions.progress("Fitting", "拟合中", total=len(strengths) + (sampled is not None)) as bar:
            if sampled is None:
                search.run(search.rows, strengths, clock, bar)
            else:
                search.run(sampled, strengths, clock.part(SEARCH_SHARE), bar)
                search.run(search.rows, (search.best.strength,), clock, bar)
        best = search.best
        notes: dict[str, Any] = {
            "stopped": "finished" if best.solution.finished else "time limit",
            "strength_rows": train.shape[0] if sampled is None else len(sampled),
        }
        if columns := material.columns("text"):
            notes["terms_most"] = min(self.terms, _terms_most(outputs_of(material)))
            notes["vocabulary_rows"] = len(_counted(material.train.records, columns))
        scale, solution = search.scale, best.solution
        architecture = {"features": train.shape[1], "c": best.strength}
        return fitted_rows(
            encoder,
            _saved(solution.weights * scale.spread, solution.bias * scale.spread + scale.centre),
            architecture if scale.target == "class" else architecture | scale.to_dict(),
            best.answers,
            material,
            search.curves,
            notes,
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """Sum of the weighted rows of W (texts) or a product of matrices (dense features), then softmax."""
        from safetensors.numpy import load

        from mofang.engine.graphs import dense_graph, linear_graph

        tensors = load(weights["weights.safetensors"])
        end = ENDS[architecture.get("target", "class")]
        if "ids" in sample:
            return linear_graph(tensors["weight"], tensors["bias"], end)
        if "features" in sample:
            return dense_graph([(tensors["weight"], tensors["bias"])], end=end)
        from mofang.fit.networks.dense import linear_network
        from mofang.fit.networks.graph import network_graph

        return network_graph(linear_network(tensors["weight"], tensors["bias"]), sample)

    def answers(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any],
                sample: Arrays) -> Callable[[Arrays], Arrays] | None:
        """The sums of texts in numpy, float64; other features are a product that the graph holds as it is."""
        from safetensors.numpy import load

        from mofang.engine.graphs import ENDS as GIVEN

        if "ids" not in sample:
            return None
        tensors, end = load(weights["weights.safetensors"]), ENDS[architecture.get("target", "class")]

        def given(arrays: Arrays) -> Arrays:
            rows = tensors["weight"][arrays["ids"]].astype(np.float64) * arrays["weights"][:, :, None]
            said = rows.sum(axis=1) + tensors["bias"]
            if end == "softmax":
                raised = np.exp(said - said.max(axis=1, keepdims=True))
                said = raised / raised.sum(axis=1, keepdims=True)
            elif end == "sigmoid":
                said = 1 / (1 + np.exp(-said))
            return {GIVEN[end][1]: said.astype(np.float32)}

        return given

    def estimate(self, size: Size) -> Estimate:
        """Encoding in seconds, then passes over the non-zero values x classes and over the weights; the
        constants are measured.
        """
        columns = 1 if size.classes == 2 else size.classes
        values = size.length * GRAMS.get(size.language, 1.0)
        if not size.language:
            products = size.rows * values * columns
            return Estimate(1.5 + size.rows / 3000, DENSE_PASSES * DENSE_OPERATIONS * _worked(products))
        characters = size.rows * size.length
        counted = characters / _stride(characters, size.rows)
        terms = min(6000 * (counted / 45_000) ** 0.55, self.terms, _terms_most(size.classes))
        work = VALUE_OPERATIONS * _worked(size.rows * values * columns) + WEIGHT_OPERATIONS * terms * columns
        encoding_s = GRAMS[size.language] / GRAMS["en"] * (2.6 * counted + 0.6 * characters) / 1e6
        return Estimate(0.5 + encoding_s + size.rows / 60_000, TEXT_PASSES * work)


def _worked(products: float) -> float:
    """Products of an average pass: with much work most passes are over a sample, and the rest are fewer."""
    return products if products <= 2 * PRODUCTS_MOST else (PRODUCTS_MOST + products) / 2


def _stride(characters: float, rows: float) -> int:
    """The terms are counted in every so many-th text."""
    return max(1, round(min(characters / VOCABULARY_CHARACTERS, rows / VOCABULARY_ROWS)))


def _terms_most(classes: int) -> int:
    return max(TERMS_LEAST, WEIGHTS_MOST // classes)


def _encoded(family: Linear, material: Material) -> tuple[Encoder, Any, Any]:
    """The encoder and both matrices [N, F]."""
    parts = (material.train.records, material.validation.records)
    if columns := material.columns("text"):
        from scipy.sparse import csr_array

        from mofang.engine.encode.ngrams import NgramEncoder

        most = min(family.terms, _terms_most(outputs_of(material)))
        ngrams = NgramEncoder.fit(_counted(parts[0], columns), columns, max_terms=most)
        matrices = []
        for records in parts:
            found = ngrams.sparse(records)
            ids, offsets = found.ids, found.offsets
            if ids.size < 2**31:
                ids, offsets = ids.astype(np.int32), offsets.astype(np.int32)
            matrices.append(csr_array((found.weights, ids, offsets), shape=(offsets.size - 1, ngrams.size)))
        return ngrams, matrices[0], matrices[1]
    from mofang.fit.loop.arrays import encode_dense

    encoder = dense_encoder(material)
    both = [
        next(iter(encode_dense(encoder, records).arrays.values())).reshape(len(records), -1)
        for records in parts
    ]
    return encoder, both[0], both[1]


def _counted(records: list[Record], columns: tuple[str, ...]) -> list[Record]:
    """The texts in which the terms are counted: all, or some of very many."""
    characters = sum(len(str(record.get(name) or "")) for record in records for name in columns)
    return records[:: _stride(characters, len(records))]


def _saved(weights: Array, bias: Array) -> dict[str, bytes]:
    from safetensors.numpy import save

    return {
        "weights.safetensors": save(
            {"weight": np.ascontiguousarray(weights), "bias": np.ascontiguousarray(bias)}
        )
    }

