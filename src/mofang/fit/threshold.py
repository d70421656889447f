"""The threshold of a model of two classes: from which probability on it says the one that is looked for.

Half is right only where both mistakes cost the same and probabilities are calibrated. Where one class is rare, the
threshold is chosen on validation rows: for what a miss is said to cost (Elkan 2001), or else for the best macro-F1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mofang.core.metrics import Floats, Ints
from mofang.engine.arrays import Array
from mofang.engine.task import Decide

RESAMPLES = 100
PRODUCTS_MOST = 20_000_000  # rows x resamples; very many rows need none
LEAST = 1e-6


def choose_threshold(labels: Sequence[str], truth: Ints, probabilities: Array, miss_cost: float) -> Decide:
    """The threshold for the rarer of two ``labels``, from true classes int [N] and probabilities float [N, 2].

    ``miss_cost`` is how many false alarms a miss costs; 0 chooses the best macro-F1. With few rows of the rarer class
    the best threshold hangs on single rows, so it is the mean, in log-odds, of the best ones of 100 resamples (bagging,
    Breiman 1996): on unseen rows that costs less. The same rows always give the same threshold.
    """
    counts = np.bincount(truth, minlength=2)
    positive = int(counts[1] <= counts[0])
    scores = probabilities[:, positive].astype(np.float64)
    generator, rows = np.random.default_rng(0), len(truth)
    resamples = max(1, min(RESAMPLES, PRODUCTS_MOST // max(1, rows)))
    found = [best_cut(truth == positive, scores, miss_cost)] if resamples == 1 else []
    for _ in range(resamples if resamples > 1 else 0):
        drawn = generator.integers(0, rows, rows)
        if len(np.unique(truth[drawn])) == 2:
            found.append(best_cut(truth[drawn] == positive, scores[drawn], miss_cost))
    cuts = np.array(found or [best_cut(truth == positive, scores, miss_cost)]).clip(LEAST, 1 - LEAST)
    threshold = 1 / (1 + np.exp(-np.log(cuts / (1 - cuts)).mean()))
    return {"positive": labels[positive], "threshold": float(threshold), "miss_cost": miss_cost}


def best_cut(positive: Array, scores: Floats, miss_cost: float) -> float:
    """The best threshold for exactly these rows: the middle of the widest gap between scores where nothing is better."""
    cuts, misses, alarms = cut_points(positive, scores)
    cheap = -(miss_cost * misses + alarms)
    good = cheap if miss_cost else _macro_f1(misses, alarms, int(positive.sum()), len(scores))
    best = np.flatnonzero(good >= good.max() - 1e-12)
    place = int(best[(cuts[best + 1] - cuts[best]).argmax()])
    return float((cuts[place] + cuts[place + 1]) / 2)


def best_macro_f1(truth: Ints, probabilities: Array) -> float:
    """The macro-F1 of two classes at the threshold that suits these rows best: it compares models that are fit for
    one, whatever their probabilities lean to."""
    counts = np.bincount(truth, minlength=2)
    _, misses, alarms = cut_points(truth == 1, probabilities[:, 1].astype(np.float64))
    return float(_macro_f1(misses, alarms, int(counts[1]), len(truth)).max())


def cut_points(positive: Array, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Between which scores a threshold can lie, and what it then misses and alarms falsely.

    ``cuts`` [M + 2] are 0, the distinct scores rising, and 1; a threshold between cuts i and i + 1 gives
    ``misses[i]`` and ``alarms[i]`` [M + 1].
    """
    values, where = np.unique(scores, return_inverse=True)
    hits = np.bincount(where, weights=positive, minlength=len(values))
    others = np.bincount(where, minlength=len(values)) - hits
    misses = np.concatenate([[0.0], np.cumsum(hits)])
    alarms = others.sum() - np.concatenate([[0.0], np.cumsum(others)])
    return np.concatenate([[0.0], values, [1.0]]), misses, alarms


def _macro_f1(misses: Floats, alarms: Floats, positives: int, total: int) -> Floats:
    """Mean F1 of both classes for each number of misses and false alarms; a class that does not occur counts nothing."""
    wrong = misses + alarms
    found, left = positives - misses, total - positives - alarms
    one = np.divide(2 * found, 2 * found + wrong, out=np.zeros_like(wrong), where=2 * found + wrong > 0)
    other = np.divide(2 * left, 2 * left + wrong, out=np.zeros_like(wrong), where=2 * left + wrong > 0)
    return (one + other) / 2


def label_thresholds(truth: Array, probabilities: Array) -> Floats:
    """For each of several labels the threshold with the best F1, float [K], from truth and probabilities [N, K].

    A label that none of these rows has keeps one half.
    """
    found = np.full(truth.shape[1], 0.5)
    for place in range(truth.shape[1]):
        positive = truth[:, place] > 0
        if not positive.any():
            continue
        cuts, misses, alarms = cut_points(positive, probabilities[:, place].astype(np.float64))
        hits = positive.sum() - misses
        good = 2 * hits / (2 * hits + misses + alarms)
        best = np.flatnonzero(good >= good.max() - 1e-12)
        chosen = int(best[(cuts[best + 1] - cuts[best]).argmax()])
        found[place] = (cuts[chosen] + cuts[chosen + 1]) / 2
    return found.clip(LEAST, 1 - LEAST)
