"""The contract of the tasks that are not one class of one record: every stage that depends on the task, twice, and by HTTP.

Stages that do not look at the task keep their contract in the worlds of the three classifications.
"""

from __future__ import annotations

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
import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.engine.predictor import Predictor
from mofang.engine.task import TASKS, task_named
from mofang.matrix import matrix_rows
from tests.contract.conftest import WHOLE
from tests.contract.leasing import check_leased
from tests.fit.placing import INPUTS, MAKE, THINGS, question, written
from tests.stories.terminal import Inside, Server, Terminal

ELSEWHERE = {"text_generation": "tests/contract/test_more_families.py"}
FAMILIES: dict[str, Any] = {
    "pair_classification": "overlap", "pair_regression": "overlap", "question_answering": "surroundings",
    "token_classification": "surroundings", "text_regression": "linear", "text_multilabel": "linear",
    "text_embedding": {"tag": "termvectors", "width": 16, "epochs": 2, "batch": 32},
}
WITHOUT_BASELINE = ("text_embedding",)  # its cheapest family is what there is to compare with
ROWS = 80


@dataclass
class Line:
    """One task, brought from a file to a package."""

    task: str
    shop: Shop
    folder: Path
    rows: list[dict[str, Any]]
    made: dict[str, Artifact]


def rated(chance: random.Random, number: int) -> dict[str, Any]:
    """A text about some things: how many, which, and the same in other words."""
    named = [thing for thing in THINGS if chance.random() < 0.5]
    return {"text": f"note {number}: {' and '.join(named)}", "share": 10 * len(named), "label": "|".join(named) or "[]",
            "next": f"{' '.join(reversed(named))} of {number}"}


def rows_of(task: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Rows with a planted signal, and the columns that are read."""
    chance = random.Random(7)
    label = {"text_regression": "share", "text_embedding": "next"}.get(task, "label")
    if task in MAKE:
        return [MAKE[task](chance, number) for number in range(ROWS)], INPUTS[task]
    return [{"text": one["text"], "label": one[label]} for one in (rated(chance, number) for number in range(ROWS))], ("text",)


def bring(task: str, shop: Shop, folder: Path, rows: list[dict[str, Any]]) -> dict[str, Artifact]:
    """Every stage that depends on the task."""
    from mofang.recipe import baseline, collect, compare, evaluate, export, package, select, snapshot, train

    family, inputs = FAMILIES[task], rows_of(task)[1]
    label = "share" if task == "pair_regression" else "label"
    source = str(written(folder, rows))
    read = {"source": source, "licence": "CC0-1.0", "origin": "tests", "label": label, "text": inputs}
    made: dict[str, Artifact] = {"collect": shop.run(collect, **read)}
    made["snapshot"] = shop.run(snapshot, made["collect"], task=task, label=label, inputs=inputs, validation=0.2, test=0.2)
    made["train"] = shop.run(train, made["snapshot"], family=family)
    made["select"] = shop.run(select, made["snapshot"], families=(family,))
    made["export"] = shop.run(export, made["train"])
    made["baseline"] = made["export"] if task in WITHOUT_BASELINE else shop.run(baseline, made["snapshot"])
    made["evaluate"] = shop.run(evaluate, made["export"], made["snapshot"] / "test", made["baseline"], resamples=20)
    made["compare"] = shop.run(compare, made["export"], made["baseline"], made["snapshot"] / "test", resamples=20)
    made["package"] = shop.run(package, made["export"], made["evaluate"], seconds=0.02, requests=18)
    return made


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp(request.param)
    rows, _ = rows_of(request.param)
    shop = Shop.open(folder / "shop")
    return Line(request.param, shop, folder, rows, bring(request.param, shop, folder, rows))


@pytest.fixture(scope="session")
def server(line: Line) -> Iterator[tuple[Server, Terminal, str]]:
    place = line.folder / "sold"
    shutil.copytree(line.shop.path, place / "shop")
    Shop(place / "shop").name("line", Shop(place / "shop").find(line.made["package"].entry, "package"))
    terminal = Inside(place)
    terminal.type("customer", "new", "tester")
    token = terminal.token("tester", "--test")
    with Server(terminal, "line") as running:
        yield running, terminal, token


def test_every_task_has_its_contract() -> None:
    assert {*WHOLE, *FAMILIES, *ELSEWHERE} == set(TASKS)
    rows, tasks = matrix_rows()
    trained = next(row for row in rows if row["verb"] == "train")
    assert set(tasks) == set(TASKS) and all(trained[task] for task in tasks), "some family learns every task"


def test_the_second_run_is_reused_and_another_shop_gives_the_same_bytes(line: Line, tmp_path: Path) -> None:
    again = bring(line.task, line.shop, line.folder, line.rows)
    assert all(line.shop.ledger.get(one.entry).kind == "reuse" for one in again.values())
    place = tmp_path / "twin"
    Shop.make(place)
    shutil.copytree(line.shop.path / "keys", place / "keys")
    twin = bring(line.task, Shop(place), line.folder, line.rows)
    assert {name: one.digest for name, one in twin.items() if name not in ("package", "select")} == {
        name: one.digest for name, one in line.made.items() if name not in ("package", "select")}
    assert line.shop.verify() == [] == Shop(place).verify()


def test_http_command_line_and_predictor_give_one_answer(line: Line, server: tuple[Server, Terminal, str]) -> None:
    running, terminal, token = server
    predictor = Predictor(line.made["package"])
    asked = [{name: row[name] for name in rows_of(line.task)[1]} for row in line.rows[:5]]
    answers = predictor.predict(predictor.parse({"records": asked})[0])
    for answer in answers:
        jsonschema.validate(answer, task_named(line.task).answer_schema(predictor.signature))
    assert running.predict("line", {"records": asked}, token).json["answers"] == answers
    one = running.predict("line", asked[0], token)
    assert one.code == "ok" and one.json["answer"] == answers[0]
    typed = terminal.type("predict", "line", "-", "--json", given=json.dumps(asked[0], ensure_ascii=False) + "\n")
    answer = json.loads(typed.out)
    assert {name: answer[name] for name in answers[0]} == answers[0]
    assert running.predict("line", dict.fromkeys(asked[0], ""), token).code == "text-empty"
    assert running.predict("line", {"nothing": "x"}, token).code == "input-unknown"


def test_a_lease_holds_it(line: Line, server: tuple[Server, Terminal, str], tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{name: row[name] for name in rows_of(line.task)[1]} for row in line.rows[:3]]
    check_leased(server[1], "line", line.task, rows, tmp_path, monkeypatch)


def test_the_exported_example_answers_without_the_house(line: Line, tmp_path: Path) -> None:
    from mofang.takeout import take_out

    shutil.copytree(line.shop.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    shop.name("sold", shop.find(line.made["package"].entry))
    place = take_out(shop, tmp_path / "out").place / "models" / "sold@1"
    assert not [path for path in place.rglob("*.py") if "import mofang" in path.read_text() or "from mofang" in path.read_text()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = {name: line.rows[3][name] for name in rows_of(line.task)[1]}
    given = next(iter(asked.values())) if len(asked) == 1 else json.dumps(asked)
    for words, wanted in (((), "questions answered as recorded"), ((given,), "")):
        done = subprocess.run([sys.executable, "example.py", *words], cwd=place, env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0 and wanted in done.stdout, done.stderr + done.stdout
    (answer,) = Predictor(line.made["package"]).predict([asked])
    if line.task != "pair_classification":
        assert same(json.loads(done.stdout), answer, 1e-4)
    else:
        assert done.stdout.startswith(answer["label"])


def test_every_encoder_whose_code_goes_along_encodes_there_as_here(tmp_path: Path) -> None:
    """In one process without the house: the arrays of pairs and windows of tokens, and of the linear ones, bit for bit."""
    from mofang.engine.arrays import arrays_digest
    from mofang.engine.decode.chain import Chain
    from mofang.engine.encode import ENCODERS, Encoder
    from mofang.engine.encode.overlap import OverlapEncoder
    from mofang.engine.encode.pairs import PairEncoder
    from mofang.engine.encode.places import PlaceEncoder
    from mofang.engine.encode.prompts import PromptEncoder
    from mofang.engine.encode.surroundings import SurroundingsEncoder
    from mofang.engine.encode.tokens import TokenEncoder
    from mofang.engine.encode.windows import WindowEncoder
    from mofang.takeout.parts import WITH, encoder_parts, parts_of

    rows = [question(random.Random(number), number) for number in range(20)]
    words = TokenEncoder.fit(rows, ("context", "question"), vocabulary=150).tokenizer_json
    chain = Chain.of([np.array([0, 1, 2])], 5, 0.5)
    made: dict[str, Encoder] = {
        "pairs": PairEncoder(("context", "question"), words, 40), "overlap": OverlapEncoder.fit(rows, ("context", "question")),
        "places": PlaceEncoder("context", words, "", 24, chain=chain),
        "prompts": PromptEncoder(("context", "question"), 40, words, "Given: ", " Answer:", (2,)),
        "windows": WindowEncoder(TokenEncoder(("context", "question"), 16, words), 3, 4),
        "surroundings": SurroundingsEncoder.fit(rows, "context", "question")}
    assert made.keys() == WITH.keys()
    lines = ["import json, sys", f"rows = json.loads({json.dumps(json.dumps(rows))})", "from parts.arrays import arrays_digest"]
    for name, encoder in made.items():
        for place, text in {**encoder_parts(name), **parts_of(("engine.decode.spans", "engine.decode.answer"))}.items():
            (tmp_path / place).parent.mkdir(exist_ok=True)
            (tmp_path / place).write_text(text, encoding="utf-8")
        (tmp_path / name).mkdir()
        for file, data in encoder.save().items():
            (tmp_path / name / file).write_bytes(data)
        lines += [f"from parts.{name} import {ENCODERS[name]} as Encoder", "from pathlib import Path",
                  f"files = {{one.name: one.read_bytes() for one in Path('{name}').iterdir()}}",
                  "print(arrays_digest(Encoder.load(files).encode(rows)))"]
    assert not [path for path in (tmp_path / "parts").iterdir() if "mofang" in path.read_text(encoding="utf-8").replace("Mofang", "")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.stdout.split() == [arrays_digest(encoder.encode(rows)) for encoder in made.values()], done.stderr


def same(one: Any, other: Any, apart: float) -> bool:
    """Whether two answers say the same, their numbers within ``apart``."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name], apart) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*both, apart) for both in zip(one, other, strict=True))
    return abs(one - other) <= apart * max(1, abs(other)) if isinstance(one, float) and other is not None else bool(one == other)
