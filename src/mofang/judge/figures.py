"""All figures of a classifier at once, and their bootstrap intervals, alone and in pairs.

Each resample is drawn once, as how often every record counts, and every figure of every model is taken from
it; so the interval of a difference is that of the paired difference (Efron and Tibshirani 1993), which is
what a comparison needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mofang.core.metrics import (
    Floats,
    Interval,
    Ints,
    accuracy,
    confusion,
    macro_f1,
    macro_precision,
    macro_recall,
    per_class,
)

OVERALL = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "roc_auc", "log_loss")
PER_CLASS = ("precision", "recall", "f1")
PROBABILITY_MIN = 1e-12


class Weighed(Protocol):
    """One model's answers, of which every figure can be taken with any record counted several times."""

    def of(self, weights: Ints) -> Floats:
        """All figures, each record counted as often as ``weights`` int [N] says."""
        ...


class Figures:
    """One model's answers on labelled records: ``truth`` int [N], ``probabilities`` float [N, K], and the classes
    that it answered, int [N] (left out: the likeliest ones).
    """

    def __init__(self, truth: Ints, probabilities: Floats, answered: Ints | None = None) -> None:
        self.truth = truth
        self.classes = probabilities.shape[1]
        self.predicted = probabilities.argmax(axis=1) if answered is None else answered
        chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
        self.losses = -np.log(np.clip(chosen, PROBABILITY_MIN, 1.0))
        self._ranked = [_Ranked(truth == place, probabilities[:, place]) for place in self._areas()]

    def of(self, weights: Ints) -> Floats:
        """The figures in the order of ``names``, each record counted as often as ``weights`` says."""
        counts = confusion(self.truth, self.predicted, self.classes, weights)
        areas = np.array([ranked.area(weights) for ranked in self._ranked])
        area = float(np.nanmean(areas)) if len(areas) and not np.isnan(areas).all() else float("nan")
        overall = [
            accuracy(counts),
            macro_precision(counts),
            macro_recall(counts),
            macro_f1(counts),
            area,
            float((weights * self.losses).sum() / max(1, weights.sum())),
        ]
        return np.concatenate([overall, *per_class(counts)])

    def confusion(self) -> list[list[int]]:
        """Counts: rows are true classes, columns predicted ones."""
        found: list[list[int]] = confusion(self.truth, self.predicted, self.classes).astype(int).tolist()
        return found

    def _areas(self) -> Sequence[int]:
        """The classes whose ROC curve counts: the second of two, else every class that occurs."""
        return (1,) if self.classes == 2 else np.unique(self.truth).tolist()


class _Ranked:
    """Scores sorted once, so that the area under the ROC curve of a resample is one cumulative sum."""

    def __init__(self, positive: NDArray[np.bool_], scores: Floats) -> None:
        order = np.argsort(scores, kind="stable")
        ranked = scores[order]
        places = np.flatnonzero(positive[order])
        self.order, self.places = order, places
        self.first = np.searchsorted(ranked, ranked[places], "left")
        self.last = np.searchsorted(ranked, ranked[places], "right")

    def area(self, weights: Ints) -> float:
        """The chance that a positive scores above a negative, ties half; NaN if one side is absent."""
        sorted_weights = weights[self.order]
        below = np.zeros(len(sorted_weights) + 1, dtype=np.float64)
        np.cumsum(sorted_weights, out=below[1:])
        own = sorted_weights[self.places]
        positives, total = float(own.sum()), float(below[-1])
        pairs = positives * (total - positives)
        if not pairs:
            return float("nan")
        middle = (below[self.first] + below[self.last]) / 2
        return float(((own * middle).sum() - positives**2 / 2) / pairs)


def names(classes: int) -> list[tuple[str, int]]:
    """What the numbers of ``Figures.of`` are: (figure, class), with class -1 for figures over all."""
    return [(name, -1) for name in OVERALL] + [
        (name, place) for name in PER_CLASS for place in range(classes)
    ]


def intervals(
    models: Sequence[Weighed],
    records: int,
    resamples: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[list[Interval]], list[Interval]]:
    """For each model the interval of every figure; and of the first model minus the second, if there are
    two.
    """
    values = [model.of(np.ones(records, dtype=np.int64)) for model in models]
    drawn = [np.empty((resamples, len(one))) for one in values]
    random = np.random.default_rng(seed)
    for number in range(resamples):
        weights = np.bincount(random.integers(0, records, records), minlength=records)
        for model, into in zip(models, drawn, strict=True):
            into[number] = model.of(weights)
        tick()
    found = [_bounds(value, draws) for value, draws in zip(values, drawn, strict=True)]
    paired = _bounds(values[0] - values[1], drawn[0] - drawn[1]) if len(models) == 2 else []
    return found, paired


def _bounds(value: Floats, draws: Floats) -> list[Interval]:
    """95 % percentile intervals; NaN resamples (a class that was not drawn) are left out."""
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    if known.any():
        low[known], high[known] = np.nanpercentile(draws[:, known], [2.5, 97.5], axis=0)
    return [Interval(float(a), float(b), float(c)) for a, b, c in zip(value, low, high, strict=True)]
