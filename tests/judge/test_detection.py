"""Counts of 100, Wilson's intervals, and columns that alone tell too much."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.fit.baseline import baseline
from mofang.fit.export import export
from mofang.fit.families import Linear
from mofang.fit.train import train
from mofang.judge.alone import _score, _steps, suspects
from mofang.judge.compare import compare, trained_on, verdict
from mofang.judge.detection import detection, wilson
from tests.fit.planted import planted


@pytest.mark.parametrize(("hits", "of", "low", "high"), [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (88, 100, 0.8019, 0.9300), (1, 2, 0.0945, 0.9055)])
def test_wilson_as_it_is_tabled(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


def test_wilson_holds_what_it_promises() -> None:
    generator = np.random.default_rng(0)
    for share, of in ((0.05, 40), (0.5, 20), (0.9, 30)):
        held = sum(low <= share <= high for low, high in (wilson(int(one), of) for one in generator.binomial(of, share, 2000)))
        assert held / 2000 > 0.92


def test_what_is_found_and_what_is_falsely_alarmed() -> None:
    truth = np.array([0] * 20 + [1] * 180)
    said = np.array([0] * 18 + [1] * 2 + [0] * 9 + [1] * 171)
    found = detection(["defect", "good"], truth, said, {"positive": "defect", "threshold": 0.2, "miss_cost": 5.0})
    assert found is not None and (found["positive"], found["other"], found["threshold"]) == ("defect", "good", 0.2)
    assert (found["found"]["count"], found["found"]["of"]) == (18, 20)
    assert (found["false_alarms"]["count"], found["false_alarms"]["of"]) == (9, 180)
    assert found["right_alarms"]["value"] == pytest.approx(18 / 27, abs=1e-6)
    assert detection(["defect", "good"], truth, said, None)["positive"] == "defect", "the rarer one"  # type: ignore[index]
    assert detection(["a", "b", "c"], truth, said, None) is None
    assert detection(["a", "b"], np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64), None) is None


def test_a_column_that_tells_the_label_is_told_from_one_that_helps() -> None:
    generator = random.Random(0)
    truth = np.array([generator.randrange(2) for _ in range(400)])
    leak = [f"{'closed' if one else 'open'}" for one in truth]
    helps = [one + generator.gauss(0, 1.0) for one in truth]
    ids = [f"row {number}" for number in range(400)]
    scores = {name: _score(_steps(values, number), truth, 2, "accuracy")
              for name, values, number in (("leak", leak, False), ("helps", helps, True), ("ids", ids, False))}
    assert scores["leak"] == 1.0 and 0.55 < scores["helps"] < 0.8 and scores["ids"] < 0.6
    assert suspects(scores, 1.0, 0.52) == ["leak"]
    assert suspects(scores, 0.55, 0.52) == [], "a model that knows nothing suspects nothing"
    assert suspects({"only": 0.8}, 0.8, 0.5) == [] and suspects({"only": 0.995}, 0.995, 0.5) == ["only"]


@pytest.mark.parametrize(("low", "high", "word"), [
    (0.01, 0.03, "better"), (-0.03, -0.01, "worse"), (-0.01, 0.02, "cannot tell"), (0.0, 0.0, "cannot tell")])
def test_a_verdict_needs_the_whole_interval(low: float, high: float, word: str) -> None:
    assert verdict({"value": 0.0, "low": low, "high": high}) == word


def test_a_better_model_is_called_better_on_the_same_rows(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path)
    snapshot = shop.run(planted, task="table_classification", rows=900)
    weak, strong = (shop.run(export, shop.run(train, snapshot, family=Linear(c=c))) for c in (1e-6, 1.0))
    good, bad, same = (shop.run(compare, *pair, snapshot / "test", resamples=200).read_json("comparison.json")
                       for pair in ((strong, weak), (weak, strong), (strong, shop.run(baseline, snapshot))))
    assert (good["verdict"], bad["verdict"], same["verdict"]) == ("better", "worse", "cannot tell")
    assert good["difference"]["value"] == pytest.approx(-bad["difference"]["value"]) and good["rows"] == 135
    assert good["answered_otherwise"] > 0
    assert trained_on(shop, snapshot / "test", strong) == 0 and trained_on(shop, snapshot / "train", strong) == 630
    other = shop.run(baseline, shop.run(planted, task="text_classification", rows=60))
    with pytest.raises(MofangError) as caught:
        shop.run(compare, strong, other, snapshot / "test")
    assert caught.value.code == "not-comparable"
