"""What `protect` did to the training records is done to every request: collect, protect, clean, train, package, HTTP.

The arrays that the graph is given are compared bit by bit. A model with pseudonyms serves where its key is, and nowhere else.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from mofang.engine.arrays import arrays_digest
from mofang.recipe import clean, collect, evaluate, export, package, protect, snapshot, train
from tests.contract.test_parity import encoder_of
from tests.stories.terminal import Inside, Server

PHONES = 27_153_946
GOOD, BAD = ("房间很好", "早餐满意", "服务周到"), ("房间太吵", "早餐很差", "服务冷淡")
FACTS = {"licence": "own", "terms": "只用于研究 https://a.example/t", "origin": "our own hotel", "consent": "contract",
         "obtained": "2026-05-01", "retain_until": "2027-11-01"}


def raw(number: int) -> str:
    words = (GOOD, BAD)[number % 2]
    return f"<b>第{number}位</b>客人：{words[number // 2 % 3]}！！请打１３８{PHONES + number}，或写信到 guest{number}＠mail.example.com"


def write(path: Path, rows: int = 160) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "客人"])
        writer.writerows([raw(number), "好坏"[number % 2], f"G-{number}"] for number in range(rows))


@dataclass(frozen=True)
class Made:
    """A shop with a model whose records were protected in one way."""

    terminal: Inside
    model: Artifact
    rows: dict[int, str]
    operators: list[dict[str, Any]]


def make(folder: Path, how: str) -> Made:
    terminal = Inside(folder)
    write(folder / "guests.csv")
    shop = Shop.open(terminal.shop)
    records = shop.run(collect, source=str(folder / "guests.csv"), text=("text",), label="label", person="客人", **FACTS)
    safe = shop.run(protect, records, how=(how,))
    tidy = shop.run(clean, safe / "kept", html="auto", noise=True, near_duplicate=0.0)
    data = shop.run(snapshot, tidy / "kept", task="text_classification", label="label", inputs=("text",), test=0.2, validation=0.2)
    model = shop.run(train, data, family="linear")
    graph = shop.run(export, model)
    made = shop.run(package, graph, shop.run(evaluate, graph, data / "test", resamples=20), seconds=0.001, requests=16)
    shop.name("guests", made)
    texts = [row["text"] for batch in RecordReader(data / "train").batches() for row in batch.rows(["text"])]
    rows = {int(text.partition("位")[0].removeprefix("第")): text for text in texts}
    return Made(terminal, model, rows, made.read_json("package.json")["operators"])


@pytest.fixture(scope="module", params=["mask", "pseudonym"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp(request.param), request.param)


def test_cleaning_appends_to_what_protecting_wrote_down(made: Made) -> None:
    assert [one["name"] for one in made.operators] == ["text-mask", "text-html", "text-normalise", "text-noise"]


def test_the_arrays_of_training_and_of_http_are_equal(made: Made) -> None:
    made.terminal.type("customer", "new", "tester")
    token = made.terminal.token("tester", "--test")
    numbers = list(made.rows)[:20]
    assert not any(f"{PHONES + number}" in made.rows[number] or "＠" in made.rows[number] for number in numbers)
    encoder = encoder_of(made.model)
    trained = arrays_digest(encoder.encode([{"text": made.rows[number]} for number in numbers]))
    assert trained != arrays_digest(encoder.encode([{"text": raw(number)} for number in numbers])), "the mask changes something"
    with Server(made.terminal, "guests") as server:
        body = {"records": [{"text": raw(number)} for number in numbers]}
        served = server.predict("guests", body, token, mofang_arrays="1")
        assert served.code == "ok" and served.json["arrays_sha256"] == trained


def test_another_shop_serves_masks_and_refuses_pseudonyms(made: Made, tmp_path: Path) -> None:
    other = Inside(tmp_path / "other", "zh")
    made.terminal.type("export", "guests", "--out", str(other.folder / "guests.mofang"))
    secret = "key" in made.operators[0]["state"]
    done = other.type("import", "guests.mofang", "--yes", status=1 if secret else 0)
    if secret:
        assert done.code == "pseudonym-key-missing" and "people" in done.err
        return
    for words in (FACTS["terms"], FACTS["origin"], "处理依据：contract"):
        assert words in other.type("show", "guests").out
        assert words in other.type("trace", "guests").out, words
    assert '"label"' in other.type("predict", "guests", raw(3), "--json").out
