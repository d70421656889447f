"""Numbers and several labels: learnt by every family of texts, exported, evaluated, packaged, asked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.snapshot import Snapshot, snapshot
from mofang.engine.predictor import Predictor
from mofang.fit.export import Graph, export
from mofang.fit.families import Averaged, Encoder, Linear, Pretrained, Rnn, Static
from mofang.fit.family import Family
from mofang.fit.train import train
from mofang.judge.evaluate import evaluate

THINGS = {"房间": "room", "早餐": "food", "价格": "price"}
SMALL: list[Family] = [
    Linear(),
    Averaged(width=16, hidden=16, learning_rate=0.02, batch=16, epochs=25),
    Rnn(width=16, embedding=16, vocabulary=120, epochs=25, learning_rate=2e-2, dropout=0.1, tokens=512),
    Static(width=16, vocabulary=120),
    Encoder(width=32, layers=1, heads=2, vocabulary=120, max_length=32, epochs=15, learning_rate=3e-3, tokens=512),
]


def written(folder: Path, task: str) -> Path:
    """A CSV file with texts that name some things; the label says which, or how many marks they get."""
    chance, rows = random.Random(3), []
    for number in range(160):
        named = [word for word in THINGS if chance.random() < 0.5]
        text = f"第{number}条：" + "，".join(f"{word}说到了" for word in named) + "。"
        if task == "text_regression":
            rows.append(f"{text},{1000 + 100 * len(named)}")
        else:
            rows.append(f"{text},{'|'.join(THINGS[word] for word in named) or '[]'}")
    path = folder / f"{task}.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(fit_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Snapshot]:
    folder = tmp_path_factory.mktemp("targets")
    found = {}
    for task in ("text_regression", "text_multilabel"):
        records = fit_shop.run(collect, source=str(written(folder, task)), label="label", licence="CC0-1.0")
        found[task] = fit_shop.run(snapshot, records, task=task, inputs=("text",), validation=0.2, test=0.2)
    return found


@pytest.mark.parametrize("family", SMALL, ids=lambda one: one.tag)
@pytest.mark.parametrize("task", ["text_regression", "text_multilabel"])
def test_every_family_learns_numbers_and_several_labels(
    fit_shop: Shop, made: dict[str, Snapshot], task: str, family: Family
) -> None:
    model = fit_shop.run(train, made[task], family=family)
    assert model.measures["validation"] >= 0.6, model.measures
    graph = fit_shop.run(export, model)
    assert graph.measures["max_abs_difference"] <= 1e-4


def test_numbers_are_answered_in_their_own_unit(fit_shop: Shop, made: dict[str, Snapshot]) -> None:
    model = fit_shop.run(train, made["text_regression"], family=Linear())
    predictor = Predictor(fit_shop.run(export, model))
    answers = predictor.predict([{"text": "房间说到了，早餐说到了，价格说到了。"}, {"text": "第1条：。"}])
    assert abs(answers[0]["value"] - 1300) < 60 and abs(answers[1]["value"] - 1000) < 60
    schema = predictor.task.answer_schema(predictor.signature)
    assert schema["properties"] == {"value": {"type": "number"}}


def test_each_of_several_labels_has_its_own_threshold(fit_shop: Shop, made: dict[str, Snapshot]) -> None:
    import jsonschema

    graph: Graph = fit_shop.run(export, fit_shop.run(train, made["text_multilabel"], family=Linear()))
    about = graph.read_json("about.json")
    assert set(about["thresholds"]) == {"room", "food", "price"}
    predictor = Predictor(graph)
    said, none = predictor.predict([{"text": "房间说到了，价格说到了。"}, {"text": "今天下雨"}])
    assert set(said["labels"]) == {"room", "price"} and none["labels"] == []
    jsonschema.validate(said, predictor.task.answer_schema(predictor.signature))
    about["thresholds"]["food"] = 1e-9
    predictor.signature["thresholds"] = about["thresholds"]
    assert "food" in predictor.predict([{"text": "房间说到了。"}])[0]["labels"]


@pytest.mark.parametrize(("task", "figure"), [("text_regression", "r2"), ("text_multilabel", "f1_micro")])
def test_evaluated_with_figures_of_their_own(fit_shop: Shop, made: dict[str, Snapshot], task: str, figure: str) -> None:
    graphs = [
        fit_shop.run(export, fit_shop.run(train, made[task], family=family)) for family in (Linear(), Static(width=16, vocabulary=120))
    ]
    found = fit_shop.run(evaluate, *graphs[:1], made[task] / "test", graphs[1], resamples=50).read_json("evaluation.json")
    assert found["headline"] == figure and found["metrics"][figure]["value"] > 0.6
    assert found["metrics"][figure]["low"] <= found["metrics"][figure]["value"] <= found["metrics"][figure]["high"]
    assert figure in found["difference"]


def test_a_number_that_is_none_is_set_aside(fit_shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    lines = [f"文字{number},{number}" for number in range(40)] + ["坏的,很多", "空的,", "无穷,inf", "也坏,1_000"]
    path.write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    records = fit_shop.run(collect, source=str(path), label="label", licence="CC0-1.0")
    found = fit_shop.run(snapshot, records, task="text_regression", inputs=("text",))
    assert sum(found.measures["rejected"].values()) == 4


def test_spearman_agrees_with_scipy_on_ties_and_weights() -> None:
    from scipy.stats import spearmanr

    from mofang.judge.numbers import spearman

    chance = np.random.default_rng(1)
    left, right = chance.integers(0, 5, 60).astype(float), chance.integers(0, 4, 60).astype(float)
    weights = chance.integers(0, 4, 60)
    expected: Any = spearmanr(np.repeat(left, weights), np.repeat(right, weights)).statistic
    assert abs(spearman(left, right, weights) - expected) < 1e-12


def test_a_pretrained_encoder_learns_numbers(fit_shop: Shop, tiny_base: Path, tmp_path: Path) -> None:
    chance, lines = random.Random(1), ["text,label"]
    for number in range(120):
        great = chance.randint(0, 3)
        lines.append(f"the room number {number} was {' '.join(['great'] * great + ['awful'] * (3 - great))},{great}")
    path = tmp_path / "marks.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    records = fit_shop.run(collect, source=str(path), label="label", licence="CC0-1.0")
    data = fit_shop.run(snapshot, records, task="text_regression", inputs=("text",), validation=0.2)
    model = fit_shop.run(train, data, family=Pretrained(base=str(tiny_base), epochs=10, learning_rate=0.01, max_length=32))
    assert model.measures["validation"] > 0.6
    assert fit_shop.run(export, model).measures["max_abs_difference"] <= 1e-4


def test_classes_are_not_asked_of_a_family_for_tables(fit_shop: Shop, made: dict[str, Snapshot]) -> None:
    from mofang.fit.families import Xgboost

    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, made["text_multilabel"], family=Xgboost())
    assert caught.value.code == "family-unsuited"


@pytest.mark.parametrize("over", ["mean", "max"])
def test_long_texts_are_read_in_windows(fit_shop: Shop, tmp_path: Path, over: str) -> None:
    chance, lines = random.Random(2), ["text,label"]
    for number in range(160):
        said = "很好" if number % 2 else "很差"
        parts = ["".join(chance.choice("天地玄黄宇宙洪荒日月") for _ in range(length)) for length in (24, 12, 12)]
        lines.append(f"{(said + '，').join(parts)}{said}。,{'pos' if number % 2 else 'neg'}")
    path = tmp_path / "long.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    records = fit_shop.run(collect, source=str(path), label="label", licence="CC0-1.0")
    data = fit_shop.run(snapshot, records, task="text_classification", inputs=("text",), validation=0.2)
    small = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 120, "max_length": 24, "learning_rate": 3e-3, "tokens": 1024}
    cut = fit_shop.run(train, data, family=Encoder(**small, epochs=2))
    assert cut.measures["cut_texts"] == cut.measures["train_rows"]
    model = fit_shop.run(train, data, family=Encoder(**small, epochs=12, windows=4, overlap=6, over=over))
    assert model.measures["validation"] >= 0.9 > cut.measures["validation"]
    graph = fit_shop.run(export, model)
    predictor = Predictor(graph)
    records_of = [{"text": "日" * 60 + "很好。"}, {"text": "很差。"}, {"text": "好" * 4000}]
    together = predictor.outputs(records_of)["probabilities"]
    singly = [predictor.outputs([one])["probabilities"][0] for one in records_of]
    assert np.allclose(together, singly, atol=1e-5) and np.allclose(together.sum(axis=1), 1, atol=1e-5)
    found = fit_shop.run(evaluate, graph, data / "test", resamples=20)
    assert found.read_json("evaluation.json")["rows"] > 5


def test_windows_that_share_too_much_are_refused(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshots["text_classification"], family=Encoder(max_length=16, windows=2, overlap=12))
    assert caught.value.code == "overlap-too-large"
