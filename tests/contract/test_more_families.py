"""The contract of families whose encoder or network is another one than their task's first: windows, prompts, two texts read
apart, and a generator; each from a file to a package, over HTTP, and asked without the house.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.engine.opening import open_package
from mofang.engine.task import task_named
from mofang.takeout import take_out
from tests.contract.world import write_texts
from tests.fit.placing import pair, written
from tests.stories.terminal import Inside, Server, Terminal

TINY = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "epochs": 1}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "windows": ("text_classification", {"tag": "encoder", **TINY, "max_length": 16, "windows": 3, "overlap": 4}),
    "twin": ("pair_classification", {"tag": "twin", **TINY, "max_length": 64}),
    "prompted": ("text_classification", {"tag": "prompted", "ask": "{text} 评价 {label}", "words": ("坏", "好"), "max_length": 64}),
    "chat": ("text_generation", {"tag": "generator", **TINY, "max_length": 64}),
}


@dataclass
class Line:
    """One family, brought from a file to a package."""

    name: str
    task: str
    shop: Shop
    folder: Path
    asked: list[dict[str, Any]]
    made: dict[str, Artifact]


def rows_of(task: str, folder: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    chance = random.Random(7)
    if task == "pair_classification":
        return [pair(chance, number) for number in range(80)], ("a", "b")
    write_texts(folder / "made.csv", 80)
    return list(csv.DictReader((folder / "made.csv").open(encoding="utf-8"))), ("text",)


def bring(name: str, shop: Shop, folder: Path, packaged: bool = True) -> tuple[dict[str, Artifact], list[dict[str, Any]]]:
    """Every stage that depends on the family."""
    from mofang.recipe import collect, evaluate, export, package, pretrain, shard, snapshot, tokenizer, train

    task, family = FAMILIES[name]
    rows, inputs = rows_of(task, folder)
    read = {"source": str(written(folder, rows)), "licence": "CC0-1.0", "origin": "tests", "label": "label", "text": inputs}
    made: dict[str, Artifact] = {"collect": shop.run(collect, **read)}
    made["snapshot"] = shop.run(snapshot, made["collect"], task=task, label="label", inputs=inputs, validation=0.2, test=0.2)
    given = [made["snapshot"]]
    if name == "prompted":
        shards = shop.run(shard, (made["collect"],), shop.run(tokenizer, (made["collect"],), size=400), validation=0.2)
        given.append(shop.run(pretrain, shards, architecture={"tag": "gpt", "depth": 1, "width": 16, "heads": 1}, context=64, steps=2,
                              batch_tokens=256, lines=0, checks=1))
    made["train"] = shop.run(train, *given, family=family)
    made["export"] = shop.run(export, made["train"])
    if not packaged:
        return made, []
    made["evaluate"] = shop.run(evaluate, made["export"], made["snapshot"] / "test", resamples=20)
    made["package"] = shop.run(package, made["export"], made["evaluate"], seconds=0.02, requests=18)
    return made, [{one: row[one] for one in inputs} for row in rows[:4]]


@pytest.fixture(scope="module", params=[
    "windows", "chat", *(pytest.param(name, marks=pytest.mark.cluster) for name in ("twin", "prompted"))])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp(request.param)
    shop = Shop.open(folder / "shop")
    made, asked = bring(request.param, shop, folder)
    return Line(request.param, FAMILIES[request.param][0], shop, folder, asked, made)


@pytest.fixture(scope="module")
def server(line: Line) -> Iterator[tuple[Server, Terminal, str]]:
    place = line.folder / "sold"
    shutil.copytree(line.shop.path, place / "shop")
    Shop(place / "shop").name("line", Shop(place / "shop").find(line.made["package"].entry, "package"))
    terminal = Inside(place)
    terminal.type("customer", "new", "tester")
    token = terminal.token("tester", "--test")
    with Server(terminal, "line") as running:
        yield running, terminal, token


def test_the_second_run_is_reused_and_another_shop_gives_the_same_bytes(line: Line, tmp_path: Path) -> None:
    again, _ = bring(line.name, line.shop, line.folder)
    assert all(line.shop.ledger.get(one.entry).kind == "reuse" for one in again.values())
    place = tmp_path / "twin"
    Shop.make(place)
    shutil.copytree(line.shop.path / "keys", place / "keys")
    twin, _ = bring(line.name, Shop(place), line.folder, packaged=False)
    assert twin and all(one.digest == line.made[name].digest for name, one in twin.items())
    assert line.shop.verify() == [] == Shop(place).verify()


def test_http_command_line_and_the_opened_package_give_one_answer(line: Line, server: tuple[Server, Terminal, str]) -> None:
    running, terminal, token = server
    opened = open_package(line.made["package"])
    answers = opened.predict(opened.parse({"records": line.asked})[0])
    for answer in answers:
        jsonschema.validate(answer, task_named(line.task).answer_schema(opened.signature))
    many = running.predict("line", {"records": line.asked}, token)
    if line.task != "text_generation":
        assert many.json["answers"] == answers
    one = running.predict("line", line.asked[0], token)
    assert one.code == "ok" and one.json["answer"] == answers[0]
    typed = terminal.type("predict", "line", "-", "--json", given=json.dumps(line.asked[0], ensure_ascii=False) + "\n")
    told = json.loads(typed.out)
    assert {name: told[name] for name in answers[0]} == answers[0]
    assert running.predict("line", dict.fromkeys(line.asked[0], ""), token).code == "text-empty"


def test_the_exported_example_answers_without_the_house(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.shop.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    shop.name("sold", shop.find(line.made["package"].entry))
    place = take_out(shop, tmp_path / "out").place / "models" / "sold@1"
    assert not [path for path in place.rglob("*.py") if "import mofang" in path.read_text() or "from mofang" in path.read_text()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = line.asked[3]
    given = next(iter(asked.values())) if len(asked) == 1 else json.dumps(asked)
    for words, wanted in (((), "questions answered as recorded"), ((given,), "")):
        done = subprocess.run([sys.executable, "example.py", *words], cwd=place, env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0 and wanted in done.stdout, done.stderr + done.stdout
    opened = open_package(line.made["package"])
    (answer,) = opened.predict(opened.parse({"records": [asked]})[0])
    if "text" in answer:
        assert done.stdout.split() == answer["text"].split()
    else:
        assert done.stdout.startswith(answer["label"])
