"""``mofang new`` on rows that are for more than one class of a record: told where the values prove it, else as before."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from tests.fit.placing import THINGS, entity, pair, question

Row = dict[str, Any]
ROWS = 60


def of(make: Callable[[random.Random, int], Row]) -> list[Row]:
    chance = random.Random(3)
    return [make(chance, number) for number in range(ROWS)]


def listed(chance: random.Random, number: int) -> Row:
    row = entity(chance, number)
    return {"正文": row["text"], "实体": json.loads(row["label"])}


def asked(chance: random.Random, number: int) -> Row:
    row = question(chance, number)
    return {"context": row["context"], "question": row["question"], "answer": row["label"]}


def told(chance: random.Random, number: int) -> Row:
    return {"messages": [{"role": "user", "content": f"What is {number}?"},
                         {"role": "assistant", "content": f"It is {number + 1}."}]}


def answered(chance: random.Random, number: int) -> Row:
    thing = chance.choice(THINGS)
    return {"instruction": f"Say something of a {thing} and {number}", "response": f"The {thing} stood beside {number} others"}


def rated(chance: random.Random, number: int) -> Row:
    named = [thing for thing in THINGS if chance.random() < 0.5]
    return {"review": f"note {number} about {' and '.join(named)} in the house", "score": round(len(named) + chance.random(), 2)}


def tagged(chance: random.Random, number: int) -> Row:
    named = [thing for thing in THINGS if chance.random() < 0.5] or ["paper"]
    return {"text": f"note {number} about {' and '.join(named)} in the house", "topics": "|".join(named)}


def alike(chance: random.Random, number: int) -> Row:
    row = pair(chance, number)
    return {"sentence1": row["a"], "sentence2": row["b"], "score": round(row["share"], 3)}


def same(chance: random.Random, number: int) -> Row:
    row = pair(chance, number)
    return {"premise": row["a"], "hypothesis": row["b"], "label": row["label"]}


def plain(chance: random.Random, number: int) -> Row:
    good = number % 2
    words = "lovely clean quiet" if good else "dirty loud broken"
    body = f"the {chance.choice(THINGS)} was {words} and number {number}"
    return {"title": f"stay {number}", "body": body, "label": "good" if good else "bad"}


def outside(chance: random.Random, number: int) -> Row:
    return {"text": f"short {number}", "label": json.dumps([{"start": 400, "end": 410, "label": "x"}])}


def elsewhere(chance: random.Random, number: int) -> Row:
    return {"context": f"nothing of it here, {number}", "question": f"What is it {number}?",
            "answer": f"quite another thing {number}"}


SHAPES: dict[str, tuple[Callable[[random.Random, int], Row], str, str, tuple[str, ...]]] = {
    "spans as text": (entity, "token_classification", "label", ("text",)),
    "spans as lists": (listed, "token_classification", "实体", ("正文",)),
    "answers": (asked, "question_answering", "answer", ("context", "question")),
    "messages": (told, "text_generation", "messages", ("messages",)),
    "instructions": (answered, "text_generation", "response", ("instruction",)),
    "numbers of texts": (rated, "text_regression", "score", ("review",)),
    "labels with bars": (tagged, "text_multilabel", "topics", ("text",)),
    "pairs with a number": (alike, "pair_regression", "score", ("sentence1", "sentence2")),
    "pairs with a label": (same, "pair_classification", "label", ("premise", "hypothesis")),
    "a title and a body are no pair": (plain, "text_classification", "label", ("body",)),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def new(folder: Path, rows: list[Row], capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    run(["new", str(folder / "rows.jsonl"), "--out", str(folder / "r.py"), "--licence", "own", "--json", *flags])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_values_prove(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, task, label, inputs = SHAPES[shape]
    said = new(tmp_path, of(make), capsys)
    assert (said.get("task"), said.get("label"), tuple(name for name, _ in said.get("inputs", ()))) == (task, label, inputs), said
    assert said["estimate"]["seconds"] > 0
    text = (tmp_path / "r.py").read_text(encoding="utf-8")
    compile(text, "r.py", "exec")
    assert ("clean" in text) == (task == "text_classification") and f'task="{task}"' in text


@pytest.mark.parametrize("make", [outside, elsewhere])
def test_what_does_not_hold_is_not_claimed(
    make: Callable[[random.Random, int], Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = new(tmp_path, of(make), capsys)
    assert said.get("task") not in ("token_classification", "question_answering"), said
    task = "token_classification" if make is outside else "question_answering"
    said = new(tmp_path, of(make), capsys, "--task", task, "--label", "label" if make is outside else "answer")
    assert said["error"]["code"] == "task-not-proven"


@pytest.mark.parametrize("shape", ["spans as lists", *(pytest.param(one, marks=pytest.mark.cluster) for one in (
    "labels with bars", "numbers of texts"))])
def test_the_recipe_that_is_written_runs(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, _, _, inputs = SHAPES[shape]
    rows = of(make)
    new(tmp_path, rows + [{**row, **{name: f"{row[name]} more" for name in inputs}} for row in rows], capsys)
    monkeypatch.setenv("MOFANG_SHOP", str(tmp_path / "shop"))
    assert run(["run", str(tmp_path / "r.py"), "--budget", "1s", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "error" not in said, said


def test_in_chinese_and_a_csv_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOFANG_LANG", "zh")
    with (tmp_path / "对.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["句子1", "句子2", "标签"])
        for number in range(ROWS):
            other, label = (f"房间{number}挺干净", "同") if number % 2 else (f"今天第{number}次下雨", "异")
            writer.writerow([f"第{number}间房很干净", other, label])
    run(["new", str(tmp_path / "对.csv"), "--out", str(tmp_path / "r.py"), "--licence", "own"])
    assert "文本对分类" in capsys.readouterr().out
    assert 'inputs=("句子1", "句子2"),' in (tmp_path / "r.py").read_text(encoding="utf-8")
