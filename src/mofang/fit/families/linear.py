"""Multinomial logistic regression: on n-gram TF-IDF for texts, on standardised values for images and tables.

It is the baseline beside every other family, and often hard to beat. The objective is that of scikit-learn's
LogisticRegression (mean log loss plus ||W||^2 / 2CN, intercept free), minimised by L-BFGS (Liu and Nocedal
1989).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder
from mofang.fit.encoders import dense_encoder, encode_sample
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.loop import deadline
from mofang.fit.material import Material
from mofang.fit.size import Size

TEXT_STRENGTHS = (1.0, 4.0, 16.0)
DENSE_STRENGTHS = (0.01, 0.1, 1.0)
ITERATIONS = 200
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Linear(Family):
    """Logistic regression.

    ``c`` is the inverse strength of the L2 penalty; 0 tries three and lets validation choose.
    """

    tag: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[str, ...]] = ("text_classification", "image_classification", "table_classification")

    c: Annotated[float, Field(ge=0)] = 0.0
    terms: Annotated[int, Field(ge=1)] = 200_000

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn one weight per feature and class."""
        encoder, train, validation = _encoded(self, material)
        strengths = (self.c,) if self.c else TEXT_STRENGTHS if material.columns("text") else DENSE_STRENGTHS
        best, curves = None, []
        solver = _Solver(train, material.train.labels, len(material.labels))
        with conditions.progress("Fitting", "拟合中", total=len(strengths)) as bar:
            for strength in strengths:
                weights, bias, loss = solver.solve(strength)
                found = _softmax(validation @ weights + bias)
                score = material.score(found, material.validation.labels)
                validation_loss = _log_loss(found, material.validation.labels)
                curves.append(
                    {
                        "c": strength,
                        "loss": loss,
                        "validation_loss": validation_loss,
                        "validation_score": score,
                    }
                )
                if best is None or (score, -validation_loss) > best[0]:
                    best = (score, -validation_loss), weights, bias, found, strength
                bar.advance()
                bar.note(f"C {strength:g} · {score:.3f}")
        assert best is not None
        _, weights, bias, found, strength = best
        sample = encode_sample(encoder, material.validation.records)
        return Fitted(
            encoder, _saved(weights, bias), {"features": len(weights), "c": strength}, found, sample, curves
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """Sum of the weighted rows of W (texts) or a product of matrices (dense features), then softmax."""
        from safetensors.numpy import load

        from mofang.engine.graphs import dense_graph, linear_graph

        tensors = load(weights["weights.safetensors"])
        if "ids" in sample:
            return linear_graph(tensors["weight"], tensors["bias"])
        if "features" in sample:
            return dense_graph([(tensors["weight"], tensors["bias"])])
        from mofang.fit.networks.dense import linear_network
        from mofang.fit.networks.graph import network_graph

        return network_graph(linear_network(tensors["weight"], tensors["bias"]), sample)

    def estimate(self, size: Size) -> Estimate:
        """Encoding at about a million characters a second, then a few hundred passes over the non-zero
        values.
        """
        columns = 1 if size.classes == 2 else size.classes
        values = size.rows * size.length * (3 if size.language else 1)
        return Estimate(
            2.0 + (values / 1e6 if size.language else size.rows / 3000), values * columns * 4 * 300 * 12
        )


class _Solver:
    """L-BFGS on one matrix [N, F], dense or sparse; each solution starts from the last."""

    def __init__(self, matrix: Any, labels: Array, classes: int) -> None:
        self.matrix, self.transposed, self.rows = matrix, matrix.T, len(labels)
        self.columns = 1 if classes == 2 else classes
        self.wanted = np.zeros((self.rows, self.columns), dtype=np.float32)
        self.wanted[np.arange(self.rows), 0 if self.columns == 1 else labels] = (
            labels if self.columns == 1 else 1
        )
        self.start = np.zeros((matrix.shape[1] + 1) * self.columns)

    def solve(self, strength: float) -> tuple[Array, Array, float]:
        """W float32 [F, K], bias float32 [K] and the mean loss; two classes are one column, halved at the
        end.
        """
        from scipy.optimize import minimize

        options = {"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 1e-9, "maxcor": 10}
        found = minimize(
            self._loss,
            self.start,
            args=(strength,),
            jac=True,
            method="L-BFGS-B",
            options=options,
            callback=self._watch,
        )
        self.start = found.x
        solution = found.x.reshape(-1, self.columns)
        if self.columns == 1:
            solution = np.concatenate([-solution / 2, solution / 2], axis=1)
        return solution[:-1].astype(np.float32), solution[-1].astype(np.float32), float(found.fun)

    def _loss(self, flat: Array, strength: float) -> tuple[float, Array]:
        solution = flat.reshape(-1, self.columns)
        weights = solution[:-1]
        logits = (self.matrix @ weights.astype(np.float32)).astype(np.float64) + solution[-1]
        if self.columns == 1:
            loss = np.logaddexp(0, np.where(self.wanted > 0, -logits, logits)).sum()
            guessed = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        else:
            top = logits.max(axis=1, keepdims=True)
            guessed = np.exp(logits - top)
            total = guessed.sum(axis=1, keepdims=True)
            guessed /= total
            loss = (np.log(total) + top).sum() - logits[self.wanted > 0].sum()
        off = (guessed - self.wanted) / self.rows
        penalty = 1 / (strength * self.rows)
        gradient = np.empty_like(solution)
        gradient[:-1] = self.transposed @ off.astype(np.float32) + penalty * weights
        gradient[-1] = off.sum(axis=0)
        return float(loss / self.rows + penalty / 2 * (weights * weights).sum()), gradient.ravel()

    def _watch(self, _: Array) -> None:
        if deadline.is_past():
            raise MofangError("time-is-up", step=0, steps=ITERATIONS)


def _encoded(family: Linear, material: Material) -> tuple[Encoder, Any, Any]:
    """The encoder and both matrices [N, F]."""
    parts = (material.train.records, material.validation.records)
    if columns := material.columns("text"):
        from scipy.sparse import csr_array

        from mofang.engine.encode.ngrams import NgramEncoder

        ngrams = NgramEncoder.fit(parts[0], columns, max_terms=family.terms)
        found = [ngrams.sparse(records) for records in parts]
        matrices = [
            csr_array((one.weights, one.ids, one.offsets), shape=(one.offsets.size - 1, ngrams.size))
            for one in found
        ]
        return ngrams, matrices[0], matrices[1]
    from mofang.fit.loop.arrays import encode_dense

    encoder = dense_encoder(material)
    both = [
        next(iter(encode_dense(encoder, records).arrays.values())).reshape(len(records), -1)
        for records in parts
    ]
    return encoder, both[0], both[1]


def _saved(weights: Array, bias: Array) -> dict[str, bytes]:
    from safetensors.numpy import save

    return {
        "weights.safetensors": save(
            {"weight": np.ascontiguousarray(weights), "bias": np.ascontiguousarray(bias)}
        )
    }


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def _log_loss(probabilities: Array, labels: Array) -> float:
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean()) if len(labels) else 0.0
