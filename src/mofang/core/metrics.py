"""Quality figures of classification, defined once for every floor, in NumPy.

Notation: ``truth`` and ``predicted`` are class indices, int arrays of shape [N]; ``probabilities`` float [N, K].
Intervals are 95 % percentile bootstrap intervals over records (Efron and Tibshirani, 1993).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
ARTICLES = re.compile(r"\b(a|an|the)\b")
TOKEN = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float]:
        """As it stands in evidence."""
        return {"value": self.value, "low": self.low, "high": self.high}


def confusion(truth: Ints, predicted: Ints, classes: int, weights: Ints | None = None) -> Floats:
    """Counts [K, K]: rows are true classes, columns predicted ones; records may be counted several times (weights)."""
    counts = np.bincount(truth * classes + predicted, weights=weights, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def accuracy(counts: Floats) -> float:
    """Share of records on the diagonal of a confusion matrix."""
    total = counts.sum()
    return float(np.trace(counts) / total) if total else 0.0


def per_class(counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class; 0 where a class was never predicted or never occurs."""
    hits = np.diag(counts)
    precision = _divide(hits, counts.sum(axis=0))
    recall = _divide(hits, counts.sum(axis=1))
    return precision, recall, _divide(2 * precision * recall, precision + recall)


def macro_f1(counts: Floats) -> float:
    """Mean F1 over the classes that occur or were predicted, so that an absent class does not count as a failure."""
    return _macro(counts, per_class(counts)[2])


def macro_precision(counts: Floats) -> float:
    """Mean precision over the classes that occur or were predicted."""
    return _macro(counts, per_class(counts)[0])


def macro_recall(counts: Floats) -> float:
    """Mean recall over the classes that occur or were predicted."""
    return _macro(counts, per_class(counts)[1])


def _macro(counts: Floats, values: Floats) -> float:
    present = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return float(values[present].mean()) if present.any() else 0.0


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def log_loss(truth: Ints, probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept off 0 by 1e-12."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(chosen, 1e-12, 1.0)).mean())


def roc_auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties half. NaN if one side is absent."""
    weight = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ranked, up, down = scores[order], (weight * positive)[order], (weight * ~positive)[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])
    up_tied, down_tied = np.add.reduceat(up, starts), np.add.reduceat(down, starts)
    below = np.cumsum(down_tied) - down_tied
    pairs = up.sum() * down.sum()
    return float((up_tied * (below + down_tied / 2)).sum() / pairs) if pairs else float("nan")


def macro_roc_auc(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> float:
    """ROC-AUC of class 1 for two classes, else the mean of one class against the rest over classes that occur."""
    classes = probabilities.shape[1]
    if classes == 2:
        return roc_auc(truth == 1, probabilities[:, 1], weights)
    areas = [roc_auc(truth == k, probabilities[:, k], weights) for k in range(classes) if (truth == k).any()]
    found = [area for area in areas if not np.isnan(area)]
    return float(np.mean(found)) if found else float("nan")


def bootstrap(statistic: Callable[[Ints], float], records: int, resamples: int = 1000, seed: int = 0) -> Interval:
    """The statistic over all records, with the interval of its resamples.

    ``statistic`` takes how often each record counts (int [N]), so that nothing is copied per resample.
    """
    value = statistic(np.ones(records, dtype=np.int64))
    if not records:
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for index in range(resamples):
        drawn[index] = statistic(np.bincount(generator.integers(0, records, records), minlength=records))
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if not np.isnan(drawn).all() else (np.nan, np.nan)
    return Interval(value, float(low), float(high))


def text_tokens(text: str) -> list[str]:
    """The words of an answer that count, as SQuAD has it: without case, punctuation and the articles a, an, the. A Chinese
    character is a word of its own."""
    plain = "".join(sign for sign in text.lower() if not unicodedata.category(sign).startswith("P"))
    return TOKEN.findall(ARTICLES.sub(" ", plain))


def token_f1(true: Sequence[str], said: Sequence[str]) -> float:
    """F1 over the words of two answers; where one has none, 1 if both have none."""
    if not true or not said:
        return float(not true and not said)
    shared = sum((Counter(true) & Counter(said)).values())
    return 2 * shared / (len(true) + len(said))
