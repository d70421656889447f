"""The threshold of two classes: the cheapest one, and everybody obeys it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mofang.core.shop import Shop
from mofang.engine.decode.classes import chosen, class_answers
from mofang.engine.predictor import Predictor
from mofang.fit.export import export
from mofang.fit.families import Linear
from mofang.fit.threshold import best_cut, best_macro_f1, choose_threshold
from mofang.fit.train import train
from mofang.judge.evaluate import evaluate
from mofang.serve.package import package
from tests.fit.planted import planted

LABELS = ("bad", "good")


def made(rows: int = 400, share: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which few are bad, with scores that lean to the truth but are never above a half for most."""
    random = np.random.default_rng(seed)
    bad = random.random(rows) < share
    score = np.clip(0.08 + 0.2 * bad + 0.09 * random.standard_normal(rows), 0.001, 0.999).round(3)
    return np.where(bad, 0, 1), np.stack([score, 1 - score], axis=1)


def cost_of(truth: np.ndarray, found: np.ndarray, threshold: float, miss_cost: float) -> float:
    said = found[:, 0] >= threshold
    return miss_cost * float(((truth == 0) & ~said).sum()) + float(((truth == 1) & said).sum())


@pytest.mark.parametrize("miss_cost", [0.5, 1.0, 5.0, 40.0])
def test_no_other_cut_of_the_same_rows_costs_less(miss_cost: float) -> None:
    truth, found = made()
    cut = best_cut(truth == 0, found[:, 0], miss_cost)
    assert cost_of(truth, found, cut, miss_cost) == min(
        cost_of(truth, found, one, miss_cost) for one in np.linspace(0.0005, 0.9995, 1000))
    assert cut not in found, "it lies between scores"


def test_few_rows_do_not_hang_the_threshold_on_one_of_them() -> None:
    """On unseen rows the threshold costs less than the one that is best for the rows it was chosen on."""
    unseen = made(20_000, seed=99)
    costs = {"chosen": 0.0, "best": 0.0}
    for seed in range(12):
        truth, found = made(150, seed=seed)
        chosen_at = choose_threshold(LABELS, truth, found, 5.0)
        assert chosen_at["positive"] == "bad"
        costs["chosen"] += cost_of(*unseen, chosen_at["threshold"], 5.0)
        costs["best"] += cost_of(*unseen, best_cut(truth == 0, found[:, 0], 5.0), 5.0)
    assert costs["chosen"] < costs["best"], costs


def test_dearer_misses_lower_the_threshold() -> None:
    truth, found = made()
    thresholds = [choose_threshold(LABELS, truth, found, cost)["threshold"] for cost in (1.0, 5.0, 40.0)]
    assert thresholds[0] > thresholds[1] > thresholds[2]


def test_without_a_cost_the_best_macro_f1_is_taken() -> None:
    truth, found = made()
    decide = choose_threshold(LABELS, truth, found, 0.0)
    best = max(f1_score(truth, np.where(found[:, 0] >= one, 0, 1), average="macro") for one in np.linspace(0, 1, 1001))
    said = chosen(LABELS, found, decide)
    assert best_macro_f1(truth, found) == pytest.approx(best)
    assert f1_score(truth, said, average="macro") > best - 0.05
    assert f1_score(truth, found.argmax(axis=1), average="macro") < 0.7 < best, "the likelier label overlooks most"


@pytest.mark.parametrize("truth", [[0], [1, 1, 1], [0, 1]])
def test_few_rows_end_in_a_threshold_too(truth: list[int]) -> None:
    decide = choose_threshold(LABELS, np.array(truth), np.tile([0.5, 0.5], (len(truth), 1)), 1.0)
    assert 0 < decide["threshold"] < 1


def test_answers_keep_their_shape_under_a_threshold() -> None:
    found = np.array([[0.2, 0.8], [0.05, 0.95]], np.float32)
    plain, decided = (class_answers(LABELS, found, one) for one in (
        None, {"positive": "bad", "threshold": 0.1, "miss_cost": 0.0}))
    assert [one["label"] for one in plain] == ["good", "good"]
    assert [one["label"] for one in decided] == ["bad", "good"]
    assert [one["scores"] for one in plain] == [one["scores"] for one in decided]


def test_graph_package_evaluation_and_replay_obey_it(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path)
    snapshot = shop.run(planted, task="table_classification", rows=300)
    model = shop.run(train, snapshot, family=Linear())
    plain = shop.run(export, model)
    eager = shop.run(export, model, snapshot / "validation", miss_cost=200.0)
    assert "decide" not in plain.read_json("about.json") or plain.read_json("about.json")["decide"]["miss_cost"] == 0
    decide = eager.read_json("about.json")["decide"]
    assert decide["miss_cost"] == 200.0 and decide["threshold"] < 0.5
    evidence = shop.run(evaluate, eager, snapshot / "test", plain, resamples=20)
    made = shop.run(package, eager, evidence, seconds=0.02)
    described = made.read_json("package.json")
    assert described["decide"] == decide and described["format"] == 3
    row = {"age": 30, "income": 9000.0, "city": "成都"}
    for source in (eager, made):
        predictor = Predictor(source)
        (answer,) = predictor.predict([row])
        said = answer["scores"][decide["positive"]] >= decide["threshold"]
        assert (answer["label"] == decide["positive"]) == said
    report = evidence.read_json("evaluation.json")
    place = report["labels"].index(decide["positive"])
    assert report["confusion"][place][1 - place] == 0, "at this price nothing is missed"
