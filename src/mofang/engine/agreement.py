"""Whether two engines say the same: the share of rows whose labels agree, by the rule with which the model answers.

A label is only asked of a row that has one to lose: where the reference itself stands within the tolerance of another answer
(or of its threshold), that answer agrees with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mofang.engine.arrays import Array


def borders_of(about: Mapping[str, Any]) -> Array | None:
    """From which probability on each label is answered, float32 [K], NaN for a label without one; None where the likeliest is.

    ``about`` is a model's about.json or package.json.
    """
    labels = list(about.get("labels", ()))
    if decide := about.get("decide"):
        return np.array([decide["threshold"] if one == decide["positive"] else np.nan for one in labels], np.float32)
    if "thresholds" in about:
        return np.array([about["thresholds"].get(one, np.nan) for one in labels], np.float32)
    return None


def agreement(found: Array, reference: Array, tolerance: float, borders: Array | None = None) -> float:
    """The share of rows, probabilities float32 [N, K], that get the same answer; 1 where there are none.

    Rows that the reference leaves empty (padding) do not count; a NaN agrees with nothing.
    """
    real = reference.any(axis=1)
    found, reference = found[real], reference[real]
    if not len(reference):
        return 1.0
    if borders is None or borders.shape != (reference.shape[1],):
        chosen = np.take_along_axis(reference, found.argmax(axis=1)[:, None], axis=1)[:, 0]
        same = chosen >= reference.max(axis=1, initial=0.0) - tolerance
    else:
        used = ~np.isnan(borders)
        crossed = (found[:, used] >= borders[used]) != (reference[:, used] >= borders[used])
        same = ~(crossed & (np.abs(reference[:, used] - borders[used]) > tolerance)).any(axis=1)
    return float((same & ~np.isnan(found).any(axis=1)).mean())
