"""How good answers on validation rows are, for one label, several, or a number; and the model that gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.encode import Encoder
from mofang.engine.graphs import NUMBER
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
) -> Fitted:
    """A model of a task whose answers are rows: ``answers`` float32 [N, K] on the validation rows."""
    sample = encode_sample(encoder, material.validation.records)
    made = Fitted(encoder, weights, architecture, answers, sample, curves, notes)
    if material.target == "class":
        return made
    raise NotImplementedError(NUMBER)
