"""The stage evaluate on tiny graphs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mofang.cli.report import headline
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit.baseline import baseline
from mofang.fit.export import Graph, export
from mofang.fit.families import Linear
from mofang.fit.train import train
from mofang.judge.evaluate import evaluate
from mofang.outcome import model_facts
from mofang.serve.package import package
from tests.fit.planted import planted

FREE = """
import sys
from pathlib import Path
from mofang.core.shop import Shop
from mofang.judge.evaluate import evaluate
shop = Shop.open(Path(sys.argv[1]))
graph, snapshot = shop.find("graph@1"), shop.find("snapshot@1")
shop.run(evaluate, graph, snapshot / "test", resamples=20, seed=9)
print(sorted({"torch", "sklearn", "transformers", "onnx", "xgboost"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Snapshot, Graph, Graph]:
    shop = Shop.open(tmp_path_factory.mktemp("judge") / "shop")
    snapshot = shop.run(planted, task="text_classification", rows=200)
    graph = shop.run(export, shop.run(train, snapshot, family=Linear(c=4.0)))
    return shop, snapshot, graph, shop.run(baseline, snapshot)


def test_the_report_holds_figures_intervals_and_the_baseline(
    made: tuple[Shop, Snapshot, Graph, Graph],
) -> None:
    shop, snapshot, graph, beside = made
    evaluation = shop.run(evaluate, graph, snapshot / "test", beside, resamples=100)
    report = evaluation.read_json("evaluation.json")
    assert report["rows"] == 30 and report["headline"] == "accuracy"
    for figures in (report["metrics"], report["baseline"]["metrics"], report["difference"]):
        assert set(figures) == {
            "accuracy",
            "precision_macro",
            "recall_macro",
            "f1_macro",
            "roc_auc",
            "log_loss",
        }
        assert all(one["low"] <= one["value"] <= one["high"] for one in figures.values())
    assert sum(map(sum, report["confusion"])) == 30
    assert set(report["classes"]) == {"neg", "pos"} and report["support"] == [15, 15]
    assert report["majority_accuracy"] == 0.5
    assert report["baseline"]["family"]["tag"] == "linear"
    assert evaluation.measures["metric"] == "accuracy"
    rows = pq.read_table(evaluation.path("predictions.parquet")).to_pylist()
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right / 30 == pytest.approx(report["metrics"]["accuracy"]["value"], abs=1e-6)
    assert len(evaluation.read_json("mistakes.json")) == min(5, 30 - right)


def test_mistakes_are_shown_with_their_input(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path)
    snapshot = shop.run(planted, task="table_classification", rows=200)
    graph = shop.run(export, shop.run(train, snapshot, family=Linear(c=0.0001)))
    evaluation = shop.run(evaluate, graph, snapshot / "test", resamples=20)
    mistakes = evaluation.read_json("mistakes.json")
    assert mistakes and len(mistakes) <= 5
    assert all(one["label"] != one["predicted"] and one["record"]["city"] for one in mistakes)
    assert [one["confidence"] for one in mistakes] == sorted(
        (one["confidence"] for one in mistakes), reverse=True
    )


def test_labels_the_model_does_not_know_are_refused(made: tuple[Shop, Snapshot, Graph, Graph]) -> None:
    shop, _, graph, _ = made
    other = shop.run(planted, task="image_classification")
    with pytest.raises(MofangError) as caught:
        shop.run(evaluate, graph, other / "test")
    assert caught.value.code == "test-columns"


def test_a_baseline_with_other_labels_is_refused(made: tuple[Shop, Snapshot, Graph, Graph]) -> None:
    shop, snapshot, graph, _ = made
    other = shop.run(baseline, shop.run(planted, task="table_classification"))
    with pytest.raises(MofangError) as caught:
        shop.run(evaluate, graph, snapshot / "test", other)
    assert caught.value.code == "baseline-differs"


def test_evaluating_imports_no_training_library(made: tuple[Shop, Snapshot, Graph, Graph]) -> None:
    shop, snapshot, graph, _ = made
    shop.name("graph", graph)
    shop.name("snapshot", snapshot)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        [sys.executable, "-c", FREE, str(shop.path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.strip().splitlines()[-1].replace("'", '"')) == []


def test_equal_classes_get_no_threshold(
    made: tuple[Shop, Snapshot, Graph, Graph],
) -> None:
    shop, snapshot, graph, beside = made
    evaluation = shop.run(evaluate, graph, snapshot / "test", beside, resamples=100)
    packaged = shop.run(package, graph, evaluation, seconds=0.02)
    described = packaged.read_json("package.json")
    assert "decide" not in described
    assert "of 100 that are `" in packaged.path("card.md").read_text(encoding="utf-8")
    named = shop.name("reviews", packaged)
    facts = model_facts(shop, named)
    assert facts["detection"]["threshold"] is None and facts["decide"] is None and facts["test_rows"] == 30


def test_a_model_whose_evaluation_is_not_here_shows_the_package_s_own_figures(
    made: tuple[Shop, Snapshot, Graph, Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, snapshot, graph, beside = made
    evaluation = shop.run(evaluate, graph, snapshot / "test", beside, resamples=100)
    named = shop.name("bought", shop.run(package, graph, evaluation, seconds=0.02))
    whole = model_facts(shop, named)
    monkeypatch.setattr(Shop, "ancestor", lambda *_: None)
    alone = model_facts(shop, named)
    assert alone["metrics"] == whole["metrics"] and alone["detection"] == whole["detection"]
    assert alone["mistakes"] == alone["candidates"] == [] and headline(alone) == headline(whole)
