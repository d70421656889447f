"""From a network that makes vectors to a fitted model and its graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mofang.engine.decode.positives import OUTPUT
from mofang.engine.encode import Encoder
from mofang.fit.encoders import encode_sample
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.loop import Plan
from mofang.fit.loop.start import WEIGHTS, fit_network, notes_of, weights_file
from mofang.fit.material import Material
from mofang.fit.vectors.contrast import Contrast, Encode, read_pairs


def fit_vectors(
    build: Callable[[], nn.Module],
    encoder: Encoder,
    encode: Encode,
    material: Material,
    plan: Plan,
    conditions: Conditions,
    architecture: dict[str, Any],
    *,
    temperature: float,
    nested: Sequence[int],
) -> Fitted:
    """Teach the network that ``build`` makes which texts belong together."""
    column = material.columns("text")[0]
    train, validation = (
        read_pairs(part.records, part.targets, column, encode) for part in (material.train, material.validation)
    )
    objective = Contrast(train, validation, temperature=temperature, dims=nested, seed=plan.seed)
    network, outcome = fit_network(build, objective, plan, conditions)
    sample = encode_sample(encoder, material.validation.records)
    rows = len(next(iter(sample.values())))
    return Fitted(
        encoder=encoder,
        weights={WEIGHTS: weights_file(network)},
        architecture=architecture,
        probabilities=None,
        outputs={OUTPUT: outcome.judged.outputs[OUTPUT][:rows]},
        score=outcome.judged.score,
        sample=sample,
        curves=outcome.curves,
        notes={**notes_of(network, outcome), **outcome.judged.figures},
    )
