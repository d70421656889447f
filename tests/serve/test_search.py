"""Vectors of texts: learning what belongs together, exporting, judging, packaging, indexing, searching, and forgetting."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.decode.positives import Positive, normalised, ranks, read_positive
from mofang.fit.families import TermVectors, TextVectors
from mofang.recipe import collect, evaluate, export, index, package, snapshot, train
from mofang.serve.search import Searcher, nearest

ZH = ("房间", "早餐", "屏幕", "键盘", "故事", "翻译", "服务", "物流", "价格", "封面", "电池", "声音")
EN = ("room", "breakfast", "screen", "keyboard", "story", "translation", "service", "shipping", "price", "cover", "battery",
      "sound")
TERMS = TermVectors(width=32, epochs=8, batch=32, nested=(8,))
SMALL = TextVectors(layers=1, width=32, heads=2, epochs=6, batch=32, max_length=32, vocabulary=300, learning_rate=3e-3)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop of this module."""
    return Shop.open(tmp_path_factory.mktemp("search") / "shop")


def write_pairs(place: Path) -> Path:
    """Three words in Chinese, and the same in English; every fifth with a hard negative."""
    chance = random.Random(0)
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "english", "who"])
        for number in range(260):
            chosen = [chance.randrange(12) for _ in range(3)]
            positive = ", ".join(EN[one] for one in chosen) + f" {number}"
            if number % 5 == 0:
                positive = json.dumps({"positive": positive, "negatives": ["nothing of the kind"]})
            writer.writerow(["，".join(ZH[one] for one in chosen) + f"{number}", positive, f"person{number}"])
    return place


@pytest.fixture(scope="module")
def records(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The pairs, collected."""
    place = write_pairs(tmp_path_factory.mktemp("texts") / "pairs.csv")
    return shop.run(collect, source=str(place), licence="CC0-1.0", origin="tests", text=("text",), label="english",
                    person="who")


@pytest.fixture(scope="module")
def cut(shop: Shop, records: Any) -> Any:
    """The records, split."""
    return shop.run(snapshot, records, task="text_embedding", label="english", inputs=("text",), test=0.2)


@pytest.fixture(scope="module")
def graph(shop: Shop, cut: Any) -> Any:
    """A cheap model of vectors."""
    return shop.run(export, shop.run(train, cut, family=TERMS))


@pytest.mark.parametrize("family", [TERMS, SMALL], ids=lambda one: one.tag)
def test_it_learns_what_belongs_together(shop: Shop, cut: Any, family: Any) -> None:
    model = shop.run(train, cut, family=family)
    assert model.measures["validation"] > 0.6 and model.measures["recall_at_10"] > 0.8
    made = shop.run(export, model)
    assert made.measures["max_abs_difference"] < 1e-5


def test_it_is_judged_by_ranks_with_intervals(shop: Shop, cut: Any, graph: Any) -> None:
    report = shop.run(evaluate, graph, cut / "test", resamples=50).read_json("evaluation.json")
    found = report["metrics"]["mrr"]
    assert report["headline"] == "mrr" and found["low"] <= found["value"] <= found["high"] and found["value"] > 0.6
    assert {"recall_at_1", "recall_at_10"} <= set(report["metrics"])


def test_a_package_answers_with_vectors_and_an_index_finds_texts(shop: Shop, cut: Any, graph: Any, records: Any) -> None:
    from mofang.engine.predictor import Predictor

    packed = shop.run(package, graph, shop.run(evaluate, graph, cut / "test", resamples=50), seconds=0.01)
    predictor = Predictor(packed)
    answer = predictor.predict(predictor.parse({"text": "房间，早餐，屏幕"})[0])[0]
    assert len(answer["embedding"]) == 32 and abs(sum(one * one for one in answer["embedding"]) - 1) < 1e-4
    made = shop.run(index, records, packed, precision="float16")
    assert made.measures["rows"] == 260 and made.measures["empty"] == 0
    hits = Searcher(made).search("screen, battery, screen", 3)
    assert len(hits) == 3 and hits[0].score >= hits[1].score and ("屏幕" in hits[0].text or "电池" in hits[0].text)
    shorter = shop.run(index, records, None, graph, dims=8)
    assert shorter.measures["dims"] == 8 and Searcher(shorter).search("price")
    for bad in ("", "   "):
        with pytest.raises(MofangError) as error:
            Searcher(made).search(bad)
        assert error.value.code == "text-empty"
    with pytest.raises(MofangError) as error:
        shop.run(index, records, packed, dims=64)
    assert error.value.code == "dims-too-many"
    with pytest.raises(MofangError) as error:
        shop.run(index, records)
    assert error.value.code == "index-without-model"


def test_an_erased_person_is_not_found_again(shop: Shop, graph: Any, records: Any) -> None:
    from mofang.data.erasure.erase import erase

    made = shop.run(index, records, None, graph)
    text = Searcher(made).texts[7]
    assert Searcher(made).search(text, 1)[0].text == text
    shop.act(erase, person=("person7",))
    after = Searcher(shop.artifact(shop.ledger.get(made.entry)))
    assert text not in after.texts and len(after.texts) == len(after.vectors) == 259
    assert after.search(text, 1)[0].text != text


def test_ranks_of_vectors_that_are_all_alike_find_nothing() -> None:
    alike = np.ones((4, 3), np.float32)
    assert ranks(alike, alike, np.arange(4)).tolist() == [4, 4, 4, 4]
    apart = np.eye(4, dtype=np.float32)
    assert ranks(apart, apart, np.arange(4)).tolist() == [1, 1, 1, 1]


def test_vectors_are_cut_and_normalised() -> None:
    found = normalised(np.array([[3, 4, 12], [0, 0, 0]], np.float32), 2)
    assert np.allclose(found, [[0.6, 0.8], [0, 0]])


def test_the_nearest_are_exact_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import mofang.serve.search as module

    monkeypatch.setattr(module, "BLOCK", 7)
    vectors = normalised(np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))
    vectors[31] = vectors[3]
    places, scores = nearest(vectors, vectors[3], 40)
    assert places[:2].tolist() == [3, 31] and places.tolist() == np.lexsort((np.arange(40), -(vectors @ vectors[3]))).tolist()
    assert (np.diff(scores) <= 0).all()


def test_a_positive_is_read_as_it_is_written() -> None:
    assert read_positive("words") == Positive("words")
    assert read_positive('{"positive": "a", "negatives": ["b", " "]}') == Positive("a", ("b",))
    assert read_positive("{broken") == Positive("{broken") and read_positive('{"other": 1}').text == '{"other": 1}'


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_the_page_is_true(tmp_path: Path) -> None:
    from tests.new.test_pages import walk
    from tests.stories.terminal import Inside

    write_pairs(tmp_path / "pairs.csv")
    walk("search.md", Inside(tmp_path), {})
