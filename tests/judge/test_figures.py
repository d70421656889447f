"""Figures against scikit-learn, intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as peers

from mofang.judge.figures import OVERALL, Figures, intervals, names


def made(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that lean towards them, rounded so that there are ties."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    raw = random.random((rows, classes)).round(1) + 0.1 + 0.5 * np.eye(classes)[truth]
    return truth, raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_figures_equal_scikit_learn(classes: int) -> None:
    truth, probabilities = made(300, classes)
    random = np.random.default_rng(1)
    for weights in (np.ones(300, dtype=np.int64), np.bincount(random.integers(0, 300, 300), minlength=300)):
        found = dict(zip(names(classes), Figures(truth, probabilities).of(weights), strict=True))
        rows = np.repeat(np.arange(300), weights)
        said, wanted = probabilities[rows].argmax(axis=1), truth[rows]
        assert found["accuracy", -1] == pytest.approx(peers.accuracy_score(wanted, said))
        assert found["f1_macro", -1] == pytest.approx(peers.f1_score(wanted, said, average="macro"))
        assert found["precision_macro", -1] == pytest.approx(
            peers.precision_score(wanted, said, average="macro")
        )
        assert found["recall_macro", -1] == pytest.approx(peers.recall_score(wanted, said, average="macro"))
        assert found["log_loss", -1] == pytest.approx(peers.log_loss(wanted, probabilities[rows]))
        scores = probabilities[rows, 1] if classes == 2 else probabilities[rows]
        area = peers.roc_auc_score(wanted, scores, multi_class="ovr", average="macro")
        assert found["roc_auc", -1] == pytest.approx(area)
        recalls = peers.recall_score(wanted, said, average=None)
        assert [found["recall", place] for place in range(classes)] == pytest.approx(list(recalls))


def test_intervals_hold_the_value_and_shrink_with_more_records() -> None:
    widths = []
    for rows in (100, 1600):
        truth, probabilities = made(rows, 3)
        (found,), paired = intervals([Figures(truth, probabilities)], rows, 200, 0)
        assert paired == []
        for interval in found[: len(OVERALL)]:
            assert interval.low <= interval.value <= interval.high
        widths.append(found[0].high - found[0].low)
    assert widths[1] < widths[0] / 2


def test_the_interval_of_an_accuracy_is_that_of_a_binomial() -> None:
    truth = np.zeros(1000, dtype=np.int64)
    probabilities = np.tile([1.0, 0.0], (1000, 1))
    probabilities[:200] = [0.0, 1.0]
    (found,), _ = intervals([Figures(truth, probabilities)], 1000, 2000, 0)
    deviation = (0.8 * 0.2 / 1000) ** 0.5
    assert found[0].low == pytest.approx(0.8 - 1.96 * deviation, abs=0.005)
    assert found[0].high == pytest.approx(0.8 + 1.96 * deviation, abs=0.005)


def test_pairs_are_drawn_together() -> None:
    """Two models that differ on no record differ by nothing, with an interval of no width."""
    truth, probabilities = made(200, 2)
    _, paired = intervals([Figures(truth, probabilities), Figures(truth, probabilities.copy())], 200, 50, 0)
    assert {(one.value, one.low, one.high) for one in paired} == {(0.0, 0.0, 0.0)}


def test_one_class_alone_has_no_area() -> None:
    truth = np.zeros(20, dtype=np.int64)
    (found,), _ = intervals([Figures(truth, np.tile([0.7, 0.3], (20, 1)))], 20, 20, 0)
    assert np.isnan(found[OVERALL.index("roc_auc")].value)
    assert found[0].value == 1.0


def test_the_same_seed_gives_the_same_intervals() -> None:
    truth, probabilities = made(150, 4)
    first, second = (intervals([Figures(truth, probabilities)], 150, 50, 5) for _ in range(2))
    assert first == second
