"""Two texts by what they share: logistic or ridge regression on a few overlap features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.size import Size

STRENGTHS = (0.1, 1.0, 10.0)
CHARACTER_S = 2.5e-6      # seconds for the features of one character


@dataclass(frozen=True, kw_only=True)
class Overlap(Family):
    """A linear model of how far two texts share characters, words, numbers and order; Chinese and English alike.

    ``c`` is the inverse strength of the L2 penalty; 0 tries three and lets validation choose.
    """

    tag: ClassVar[str] = "overlap"
    loops: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("pair_classification", "pair_regression")

    c: Annotated[float, Field(ge=0)] = 0.0
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Features of both parts, then one solution for each strength."""
        from mofang.engine.encode.overlap import OverlapEncoder
        from mofang.fit.logistic import Logistic
        from mofang.fit.scale import Scale
        from mofang.fit.verdict import fitted_rows

        first, second = material.columns("text")
        train, validation = material.train, material.validation
        encoder = OverlapEncoder.fit(train.records, (first, second))
        matrices = [encoder.encode(rows.records)["features"] for rows in (train, validation)]
        scale = Scale.of(material)
        number = material.target == "number"
        counts = material.class_weights[train.labels] if self.balance and not number else None
        labels = np.zeros(len(train), np.int64) if number else train.labels
        wanted = scale.matrix(train) if number else None
        problem = Logistic(matrices[0], labels, scale.columns, lambda: False, counts=counts, wanted=wanted,
                           link="identity" if number else "softmax")
        found = []
        strengths = (self.c,) if self.c else STRENGTHS
        with conditions.progress("Fitting", "拟合中", total=len(strengths)) as bar:
            for strength in strengths:
                solution = problem.solve(strength)
                answers = scale.back(solution.answers(matrices[1]))
                found.append((material.score(answers, validation.targets), -solution.loss, strength, solution, answers))
                bar.advance()
        *_, strength, solution, answers = max(found, key=lambda one: one[:2])
        curves = [{"c": one[2], "loss": -one[1], "validation_score": one[0]} for one in found]
        tensors = {"weight": np.ascontiguousarray(solution.weights), "bias": np.ascontiguousarray(solution.bias)}
        from safetensors.numpy import save

        architecture = {"c": strength, **scale.to_dict()}
        return fitted_rows(encoder, {"weights.safetensors": save(tensors)}, architecture, answers, material, curves, {})

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """A product of matrices, then softmax, or the number in its own unit."""
        from safetensors.numpy import load

        from mofang.engine.graphs import dense_graph
        from mofang.fit.scale import ENDS, scaled

        tensors = load(weights["weights.safetensors"])
        return dense_graph(scaled([(tensors["weight"], tensors["bias"])], architecture), end=ENDS[architecture["target"]])

    def estimate(self, size: Size) -> Estimate:
        """Seconds by the characters read."""
        return Estimate(0.5 + CHARACTER_S * size.rows * min(size.length, 4096))
