"""Agreement equals the reference implementations to 1e-9; aggregation beats the majority where people differ in skill."""

from __future__ import annotations

import math
import warnings

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mofang.data.labelling.consensus import _marks
from mofang.data.labelling.dawid import dawid_skene, majority, quality
from mofang.data.labelling.measures import Level, alpha, cohen, f1, fleiss, overlap_f1, ratio, value_counts

CLOSE = 1e-9


def drawn(seed: int) -> tuple[np.ndarray, int]:
    """People by items, with missing answers."""
    generator = np.random.default_rng(seed)
    people, items, classes = generator.integers(2, 7), generator.integers(3, 60), int(generator.integers(2, 7))
    truth = generator.integers(0, classes, items)
    said = np.where(generator.random((people, items)) < 0.6, truth, generator.integers(0, classes, (people, items)))
    return np.where(generator.random((people, items)) < 0.2, -1, said), classes


@pytest.mark.parametrize("weights", ["", "linear", "quadratic"])
def test_cohen_is_that_of_scikit_learn(weights: str) -> None:
    compared = 0
    for seed in range(100):
        said, classes = drawn(seed)
        both = (said[0] >= 0) & (said[1] >= 0)
        if not both.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = cohen_kappa_score(said[0][both], said[1][both], labels=range(classes), weights=weights or None)
        found = cohen(said[0], said[1], classes, weights)  # type: ignore[arg-type]
        assert math.isnan(found) if math.isnan(expected) else abs(found - expected) < CLOSE
        compared += 1
    assert compared > 90


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_the_package_krippendorff(level: Level) -> None:
    compared = 0
    for seed in range(100):
        said, classes = drawn(seed)
        items = np.nonzero(said.T >= 0)[0]
        counts = value_counts(items, said.T[said.T >= 0], classes)
        values = np.arange(classes) * 1.5 - 2
        used = counts[counts.sum(1) >= 2].sum(0) > 0
        if used.sum() < 2:
            continue
        data = np.where(said >= 0, values[np.maximum(said, 0)], np.nan)
        expected = krippendorff.alpha(reliability_data=data, level_of_measurement=level, value_domain=values.tolist())
        assert abs(alpha(counts, values, level) - expected) < CLOSE
        compared += 1
    assert compared > 90


def test_alpha_of_krippendorffs_own_example() -> None:
    """The reliability data of Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: nominal 0.743, ordinal 0.815,
    interval 0.849."""
    rows = ["12332141 2   ", "12332241 2 5 3".replace(" 3", "")[:12], " 333232 24 5 3"]
    one = [[1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0], [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3], [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
           [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0]]
    assert rows
    said = np.array(one) - 1
    counts = value_counts(np.nonzero(said.T >= 0)[0], said.T[said.T >= 0], 5)
    figures = [alpha(counts, np.arange(1, 6), level) for level in ("nominal", "ordinal", "interval")]
    assert [round(figure, 3) for figure in figures] == [0.743, 0.815, 0.849]


def test_fleiss_of_the_published_worked_example_and_by_counting_pairs() -> None:
    """Fleiss (1971) as worked in the literature: 10 items, 14 people, 5 classes, kappa 0.210."""
    table = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
                      [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]])
    assert round(fleiss(table), 3) == 0.210
    generator = np.random.default_rng(1)
    for _ in range(20):
        said = generator.integers(0, 4, (12, 5))
        agreed = np.mean([np.mean([a == b for i, a in enumerate(row) for j, b in enumerate(row) if i != j]) for row in said])
        chance = sum(np.mean(said == one) ** 2 for one in range(4))
        counts = np.stack([(said == one).sum(1) for one in range(4)], axis=1)
        assert abs(fleiss(counts) - (agreed - chance) / (1 - chance)) < CLOSE


def test_marks_match_once_and_best_first() -> None:
    box = {"x": 0.0, "y": 0.0, "width": 10.0, "height": 10.0, "label": "猫"}
    near, far = {**box, "x": 2.0}, {**box, "x": 9.0}
    assert ratio(box, box) == 1 and abs(ratio(box, near) - 8 / 12) < CLOSE and ratio(box, {**box, "x": 20.0}) == 0
    assert overlap_f1([box, near], [near, far], "boxes") == (1, 2, 2)
    assert overlap_f1([box], [{**box, "label": "狗"}], "boxes") == (0, 1, 1)
    spans = [{"start": 0, "end": 2, "label": "人"}, {"start": 5, "end": 7, "label": "地"}]
    assert f1(*overlap_f1(spans, spans[:1], "spans")) == pytest.approx(2 / 3) and f1(0, 0, 0) == 1.0
    square = {"points": [[0, 0], [10, 0], [10, 10], [0, 10]], "label": "x"}
    half = {"points": [[0, 0], [10, 0], [10, 5], [0, 5]], "label": "x"}
    assert ratio(square, half) == pytest.approx(0.5, abs=0.01)
    settled = _marks("boxes", [{"boxes": [box]}, {"boxes": [near]}, {"boxes": [{**box, "x": 1.0}, {**far, "x": 50.0}]}])
    assert settled.text == '[{"height":10.0,"label":"猫","width":10.0,"x":1.0,"y":0.0}]' and settled.agreed == 2
    apart = _marks("spans", [{"spans": spans}, {"spans": spans[:1]}])
    assert apart.tied and apart.answers == 2


def simulated(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Items, people, answers and the truth: two careful people, one who confuses two classes, three careless ones."""
    generator = np.random.default_rng(seed)
    items, classes = 400, 3
    truth = generator.choice(classes, items, p=[0.5, 0.3, 0.2])
    matrices = [np.full((3, 3), (1 - skill) / 2) + np.eye(3) * (skill - (1 - skill) / 2) for skill in (0.93, 0.85, 0.5, 0.45, 0.4)]
    matrices.append(np.array([[0.9, 0.05, 0.05], [0.05, 0.2, 0.75], [0.05, 0.75, 0.2]]))  # wrong in a way that can be learnt
    rows = [(item, person, generator.choice(classes, p=matrix[truth[item]])) for person, matrix in enumerate(matrices)
            for item in range(items) if generator.random() < 0.7]
    table = np.array(rows)
    return table[:, 0], table[:, 1], table[:, 2], truth


def test_dawid_and_skene_beat_the_majority_on_people_of_mixed_skill() -> None:
    gains = []
    for seed in range(24):
        items, people, said, truth = simulated(seed)
        seen = np.unique(items)
        found = dawid_skene(items, people, said, (len(truth), 6, 3))
        counted = majority(items, said, len(truth), 3)
        gains.append(float((found.best == truth)[seen].mean() - (counted.best == truth)[seen].mean()))
        assert quality(found)[0]["expected_right"] > 0.8 > quality(found)[4]["expected_right"]
    assert np.mean(gains) > 0.03 and min(gains) > -0.01, gains


def test_dawid_and_skene_are_sane_on_little() -> None:
    items, people, said = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    found = dawid_skene(items, people, said, (4, 2, 2))
    assert found.best.tolist()[:3] == [0, 1, 1] and np.allclose(found.chances.sum(1), 1) and np.all(found.confusion > 0)
    again = dawid_skene(items, people, said, (4, 2, 2))
    assert np.array_equal(found.chances, again.chances)
    order = np.array([3, 1, 0, 2])
    mixed = dawid_skene(items[order], people[order], said[order], (4, 2, 2))
    assert np.allclose(found.chances, mixed.chances, atol=1e-9)
    tie = majority(np.array([0, 0]), np.array([1, 0]), 1, 2)
    assert tie.best.tolist() == [0] and tie.confidence.tolist() == [0.5], "of equal ones the first"
