"""What a model of two classes finds of the one that is looked for, as people count: of 100, with Wilson's interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mofang.core.metrics import Ints

Z_95 = 1.959964


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); it holds for few records and for shares near 0 and 1 too."""
    if not of:
        return 0.0, 1.0
    share, square = hits / of, Z_95**2 / of
    middle = (share + square / 2) / (1 + square)
    half = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def detection(labels: list[str], truth: Ints, answered: Ints, decide: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of the test records with the looked-for label, how many were found; of the others, how many false alarms.

    The looked-for label is that of the threshold, else the rarer one of the test part. Each share has its count, what it
    is a share of, and both bounds. None where there are not two classes, or one of them does not occur.
    """
    if len(labels) != 2 or len(np.unique(truth)) < 2:
        return None
    counts = np.bincount(truth, minlength=2)
    positive = labels.index(decide["positive"]) if decide else int(counts[1] <= counts[0])
    is_positive, said = truth == positive, answered == positive
    return {
        "positive": labels[positive],
        "other": labels[1 - positive],
        "threshold": decide["threshold"] if decide else None,
        "miss_cost": decide["miss_cost"] if decide else 0.0,
        "found": _share(int((is_positive & said).sum()), int(is_positive.sum())),
        "false_alarms": _share(int((~is_positive & said).sum()), int((~is_positive).sum())),
        "right_alarms": _share(int((is_positive & said).sum()), int(said.sum())),
    }


def _share(count: int, of: int) -> dict[str, Any]:
    low, high = wilson(count, of)
    return {"count": count, "of": of, "value": round(count / of, 6) if of else None, "low": round(low, 6), "high": round(high, 6)}
