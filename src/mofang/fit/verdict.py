"""The model that rows of answers make: one label, several, or a number for each record."""

from __future__ import annotations

from typing import Any

from mofang.engine.arrays import Array
from mofang.engine.encode import Encoder
from mofang.engine.graphs import NUMBER, OUTPUT
from mofang.fit.encoders import encode_sample
from mofang.fit.family import Curves, Fitted
from mofang.fit.material import Material
from mofang.fit.threshold import label_thresholds


def fitted_rows(
    encoder: Encoder,
    weights: dict[str, bytes],
    architecture: dict[str, Any],
    answers: Array,
    material: Material,
    curves: Curves,
    notes: dict[str, Any],
    rows: Array | None = None,
) -> Fitted:
    """A model whose ``answers`` float32 [N, K] on the validation rows are probabilities, or numbers in their own unit.

    Where a record has several labels, each gets the threshold that suits the validation rows best. ``rows`` are the answers to
    the encoder's rows, where it cuts a record into several.
    """
    sample = encode_sample(encoder, material.validation.records)
    kept = (answers if rows is None else rows)[: len(next(iter(sample.values())))]
    outputs = {NUMBER if material.target == "number" else OUTPUT: kept}
    if material.target == "class":
        return Fitted(encoder, weights, architecture, answers, sample, curves, notes, outputs=outputs)
    score = material.score(answers, material.validation.targets)
    if material.target == "classes":
        cuts = label_thresholds(material.validation.targets > 0, answers)
        thresholds = {label: round(float(cut), 6) for label, cut in zip(material.labels, cuts, strict=True)}
        architecture = architecture | {"thresholds": thresholds}
        return Fitted(encoder, weights, architecture, answers, sample, curves, notes, outputs=outputs, score=score)
    return Fitted(encoder, weights, architecture, None, sample, curves, notes, outputs=outputs, score=score)
