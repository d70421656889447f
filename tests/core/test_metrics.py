"""Our figures equal scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core import metrics


@given(st.integers(2, 6), st.integers(5, 60), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_figures_equal_scikit_learn(classes: int, records: int, seed: int) -> None:
    from sklearn import metrics as theirs

    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, records)
    probabilities = np.round(generator.dirichlet(np.ones(classes), records), 2)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    counts = metrics.confusion(truth, predicted, classes)
    assert metrics.accuracy(counts) == pytest.approx(theirs.accuracy_score(truth, predicted))
    present = sorted(set(truth) | set(predicted))
    for ours, name in ((metrics.macro_f1, "f1"), (metrics.macro_precision, "precision"), (metrics.macro_recall, "recall")):
        wanted = getattr(theirs, f"{name}_score")(truth, predicted, average="macro", labels=present, zero_division=0)
        assert ours(counts) == pytest.approx(wanted)
    if len(set(truth)) == classes:
        wanted = theirs.log_loss(truth, probabilities, labels=list(range(classes)))
        assert metrics.log_loss(truth, probabilities) == pytest.approx(wanted, rel=1e-6, abs=1e-6) or (probabilities == 0).any()
        areas = [theirs.roc_auc_score(truth == k, probabilities[:, k]) for k in range(classes)]
        wanted = areas[1] if classes == 2 else np.mean(areas)
        assert metrics.macro_roc_auc(truth, probabilities) == pytest.approx(wanted)


def test_weights_count_records_several_times() -> None:
    generator = np.random.default_rng(1)
    positive, scores, weights = generator.random(50) < 0.4, np.round(generator.random(50), 1), generator.integers(0, 4, 50)
    again = metrics.roc_auc(np.repeat(positive, weights), np.repeat(scores, weights))
    assert metrics.roc_auc(positive, scores, weights) == pytest.approx(again)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator, covered = np.random.default_rng(0), 0
    for seed in range(100):
        right = (generator.random(200) < 0.8).astype(float)
        interval = metrics.bootstrap(lambda w, right=right: float((w * right).sum() / w.sum()), 200, 200, seed)
        covered += interval.low <= 0.8 <= interval.high
    assert 86 <= covered <= 100


def test_absent_sides_are_nan_and_empty_sets_do_not_fail() -> None:
    assert np.isnan(metrics.roc_auc(np.array([True, True]), np.array([0.1, 0.2])))
    assert metrics.accuracy(np.zeros((2, 2))) == 0.0
    assert np.isnan(metrics.bootstrap(lambda w: 0.0, 0).low)
