"""Which models can be taught further for a customer: generators, every task of texts and tables; others are refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.fit.families import Generator
from mofang.recipe import collect, evaluate, export, package, snapshot, train
from mofang.trade.customs import beside
from mofang.trade.customs.orders import find_custom
from mofang.trade.customs.room import open_room, read_rows
from tests.contract.test_other_tasks import FAMILIES, rows_of
from tests.contract.world import write_images, write_table
from tests.stories.terminal import Inside, Server, eventually

WORDS = {"one": "一", "two": "二", "three": "三"}
CANARY = "金丝雀"
SMALL = Generator(layers=1, width=64, heads=2, vocabulary=320, max_length=48, epochs=6, learning_rate=5e-3, tokens=128,
                  attention="eager")
SHORT = {"seconds": 0.01, "requests": 16}
KINDS = ("text_regression", "question_answering", "text_embedding", "text_multilabel", "token_classification",
         "table_classification")
QUICK = ("text_regression",)  # one of each target and of tables in the longer suite


@pytest.fixture(scope="module")
def seller(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A shop with a customer, and files that hold nothing yet."""
    terminal = Inside(tmp_path_factory.mktemp("kinds"))
    Shop.open(terminal.shop)
    terminal.type("customer", "new", "Acme", "--credit", "10000")
    terminal.type("customer", "new", "Birch", "--credit", "10000")
    return terminal


def released(terminal: Inside, name: str, task: str, read: dict[str, Any], inputs: tuple[str, ...], family: Any) -> Artifact:
    """A release of this task out of a file, as a recipe makes it."""
    shop = Shop.open(terminal.shop, make=False)
    records = shop.run(collect, licence="CC0-1.0", origin="tests", **read)
    label = read.get("label", "label")
    cut = shop.run(snapshot, records, task=task, label=label, inputs=inputs, validation=0.1, test=0.1)
    graph = shop.run(export, shop.run(train, cut, family=family), cut / "validation")
    made: Artifact = shop.run(package, graph, shop.run(evaluate, graph, cut / "test", resamples=20), **SHORT)
    shop.name(name, made)
    return made


def jsonl(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return place


def talk(rows: int, seed: int, *, swapped: bool = False) -> list[dict[str, str]]:
    """A number word and its sign; ``swapped`` is the customer's own way, which the base has never seen."""
    chance, signs = random.Random(seed), list(WORDS.values())
    own = dict(zip(WORDS, signs[1:] + signs[:1], strict=True)) if swapped else WORDS
    words = [chance.choice(list(WORDS)) for _ in range(rows)]
    return [{"prompt": f"{word} {number}", "completion": own[word]} for number, word in enumerate(words)]


def customised(terminal: Inside, base: str, name: str, file: str, *more: str) -> dict[str, Any]:
    terminal.type("customise", "new", "Acme", "--base", base, "--name", name, "--price", "10.00")
    terminal.type("customise", "add", name, file)
    told: dict[str, Any] = terminal.type("customise", "run", name, *more, "--json").json
    return told


@pytest.fixture(scope="module")
def writer(seller: Inside) -> Artifact:
    """A tiny generator on sale."""
    source = jsonl(seller.folder / "talk.jsonl", talk(240, 3))
    made = released(seller, "talk", "text_generation", {"source": str(source), "text": ("prompt",), "label": "completion"},
                    ("prompt",), SMALL)
    seller.type("price", "set", "talk", "2.00/1000000", "--output", "4", "--yes")
    return made


def test_a_generator_goes_on_from_the_bases_weights(seller: Inside, writer: Artifact) -> None:
    """Its own way of answering is learnt, judged by bits per byte, streamed to its own customer alone, and priced as the base."""
    jsonl(seller.folder / "own.jsonl", talk(140, 7, swapped=True))
    told = customised(seller, "talk@1", "ours", "own.jsonl", "--learn", "own")
    figures = told["figures"]
    assert figures["start"] == "weights" and figures["verdict"] == "better" and figures["metric"] == "bits_per_byte", figures
    assert 0 < figures["own"] < figures["base"] and figures["difference"]["low"] > 0 and told["calls"] == "¥2.00/1,000,000"
    with Server(seller, "talk") as server:
        mine, other = seller.token("Acme"), seller.token("Birch")
        assert eventually(lambda: server.call("GET", "/v1/models", key=other).status == 200, 5)
        body = {"model": "ours", "messages": [{"role": "user", "content": "two 33"}], "temperature": 0, "max_tokens": 4}
        whole = server.call("POST", "/v1/chat/completions", body, key=mine, Idempotency_Key="once").json
        assert whole["choices"][0]["message"]["content"] == "三" and whole["model"] == "ours@1"
        said = server.call("POST", "/v1/chat/completions", {**body, "stream": True}, key=mine).body.decode()
        assert "三" in said and said.rstrip().endswith("data: [DONE]")
        base = server.call("POST", "/v1/chat/completions", {**body, "model": "talk"}, key=mine).json
        assert base["choices"][0]["message"]["content"] == "二", "the base is what it was"
        for path in ("/v1/chat/completions", "/v1/completions"):
            asked = {"model": "ours", **({"messages": body["messages"]} if "chat" in path else {"prompt": "two 33"})}
            theirs = server.call("POST", path, asked, key=other)
            assert theirs.status == 404 and "ours" not in str(server.call("GET", "/v1/models", key=other).json)
    shop = Shop.open(seller.shop, make=False)
    prices = shop.control.rows("select body from journal where journal='prices' and kind='price' order by position")
    assert [json.loads(row[0]).get("output") for row in prices] == [4, 4], "a token written counts as the base's does"
    assert len(shop.control.rows("select name from replay")) == 1
    seller.type("customise", "delete", "ours", "--yes")
    assert shop.control.rows("select name from replay") == [], "what it wrote and was kept for a retry goes with it"
    assert seller.type("verify").status == 0


def test_a_generator_that_grew_worse_is_not_delivered(seller: Inside, writer: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate itself: the same rows, both packages, and a verdict that follows from the paired difference."""
    rows, chance = 60, np.random.default_rng(1)
    bits = chance.gamma(2.0, 1.0, rows)
    letters = np.full(rows, 3)

    def verdict(own: Any, base: Any) -> str:
        asked = [beside.Asked(beside.Words(one, letters), 0, beside.BITS, rows) for one in (own, base)]
        return str(beside._of_figures(asked)["verdict"])

    assert verdict(bits * 1.3, bits) == "worse" and verdict(bits / 1.3, bits) == "better"
    assert verdict(bits + chance.normal(0, 0.3, rows), bits) == "as good"
    jsonl(seller.folder / "few.jsonl", talk(40, 9))
    monkeypatch.setattr("mofang.trade.customs.teaching._taught", lambda *_: writer)
    monkeypatch.setattr("mofang.trade.customs.teaching.beside_base",
                        lambda *_: {"verdict": "worse", "test_rows": 8, "own": 2.5, "base": 1.5, "metric": "bits_per_byte"})
    monkeypatch.setattr("mofang.core.shop.Shop.name", lambda *_: "worse@1")
    seller.type("customise", "new", "Acme", "--base", "talk", "--name", "worse", "--price", "10.00")
    seller.type("customise", "add", "worse", "few.jsonl")
    said = seller.type("customise", "run", "worse").out
    assert "not delivered" in said
    why = seller.type("customise", "status", "worse", "--json").json
    assert (why["state"], why["held"]) == ("declined", "¥0.00")


def test_conversations_are_checked_turn_by_turn() -> None:
    inputs = [{"name": "messages", "role": "text"}]
    good = [{"role": "user", "content": "two"}, {"role": "assistant", "content": "二"}]
    rows = read_rows(json.dumps([{"messages": good}]).encode(), "json", inputs, "messages", "text")
    assert json.loads(rows[0]["messages"]) == good
    assert read_rows(json.dumps({"messages": json.dumps(good)}).encode(), "jsonl", inputs, "messages", "text")
    for bad in (good[:1], [],
                [{"role": "boss", "content": "x"}], [{"role": "user"}], [[good]], [{"role": "user", "content": good}]):
        with pytest.raises(MofangError) as refusal:
            read_rows(json.dumps([{"messages": bad}]).encode(), "json", inputs, "messages", "text")
        assert refusal.value.code == "customise-row" and refusal.value.values["row"] == 1, bad
    with pytest.raises(MofangError):
        read_rows(json.dumps([{"messages": good}]).encode(), "json", inputs, "messages", "class")


@pytest.mark.parametrize("task", [pytest.param(one, marks=() if one in QUICK else pytest.mark.cluster) for one in KINDS])
def test_every_task_of_texts_and_tables(seller: Inside, task: str) -> None:
    """Delivered after its own gate: the base is asked the same rows, whatever the task answers with."""
    family = FAMILIES.get(task, "xgboost")
    if task == "table_classification":
        write_table(seller.folder / "table.csv", 100)
        read: dict[str, Any] = {"source": str(seller.folder / "table.csv"), "label": "违约", "numbers": ("年龄", "收入"),
                                "categories": ("城市",)}
        inputs: tuple[str, ...] = ("年龄", "收入", "城市")
        own = "table.csv"
    else:
        rows, inputs = rows_of(task)
        label = "share" if task == "pair_regression" else "label"
        rows = [{name: row[name] for name in (*inputs, label)} for row in rows]
        read = {"source": str(jsonl(seller.folder / f"{task}.jsonl", rows[:40])), "label": label, "text": inputs}
        rows = rows[40:]
        for row in rows:  # lists and objects are written as they are
            if isinstance(row[label], str) and row[label].startswith("["):
                row[label] = json.loads(row[label])
        own = jsonl(seller.folder / f"own-{task}.jsonl", rows).name
    released(seller, f"base-{task}", task, read, inputs, family)
    told = customised(seller, f"base-{task}", f"own-{task}", own)
    assert told["state"] == "delivered", told
    assert told["learnt_from"] == "both" and told["figures"]["test_rows"] > 5
    assert told["figures"]["verdict"] in ("better", "as good")
    shop = Shop.open(seller.shop, make=False)
    room = open_room(shop, find_custom(shop.control, f"own-{task}"))
    assert room.find(f"own-{task}@1").read_json("package.json")["task"] == task


def test_what_cannot_be_taught_is_refused_by_name(seller: Inside, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 60)
    released(seller, "pictures", "image_classification", {"source": str(tmp_path / "images"), "text": ()}, ("image",),
             {"tag": "mlp", "epochs": 1})
    done = seller.type("customise", "new", "Acme", "--base", "pictures", "--name", "p", "--price", "1.00", status=1)
    assert done.code == "customise-base-unsuited" and "image" in done.err
