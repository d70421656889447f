"""How good answers are where a row has no single label: numbers, and several labels."""

from __future__ import annotations

import numpy as np

from mofang.engine.arrays import Array
from mofang.fit.threshold import label_thresholds


def r2(truth: Array, answers: Array) -> float:
    """The share of the variance of ``truth`` [N] that ``answers`` [N] explain; 0 for no rows or no variance."""
    truth = np.asarray(truth, np.float64)
    spread = float(((truth - truth.mean()) ** 2).sum()) if len(truth) else 0.0
    return 1 - float(((truth - answers) ** 2).sum()) / spread if spread else 0.0


def f1_micro(truth: Array, said: Array) -> float:
    """F1 over all labels of all rows together, of bool [N, K]; 1 where nothing was to be said and nothing was."""
    hits, wanted = float((truth & said).sum()), float(truth.sum() + said.sum())
    return 2 * hits / wanted if wanted else 1.0


def row_score(target: str, answers: Array, truth: Array) -> float:
    """The headline of answers [N, K]: R2 of numbers, F1 over several labels at the thresholds that suit these rows."""
    if target == "number":
        return r2(truth, answers[:, 0])
    positive = truth > 0
    return f1_micro(positive, answers >= label_thresholds(positive, answers)) if len(truth) else 0.0
