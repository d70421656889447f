"""What the data floor keeps in tables, in every database: labels, the privacy budget, sources, tombstones."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.core.tombstones import Tombstones
from mofang.data.erasure.erase import erase
from mofang.data.labelling import desk, queue
from mofang.data.labelling.exchange.sending import current_answers
from mofang.data.labelling.looking import told_task
from mofang.data.labelling.projects import projects
from tests.data.erasing import PERSON, SENTENCE, write_source
from tests.data.labelling.asking import answer, person, project, take, texts


def test_labels_budget_sources_and_erasure_hold_in_every_database(any_shop: Shop, tmp_path: Path) -> None:
    from mofang.data.private import private
    from mofang.data.protecting.budget import datasets_of, privacy_budget
    from mofang.data.remote.registry import source_add
    from mofang.recipe import aggregate, collect

    shop = any_shop
    write_source(tmp_path / "reviews.csv", rows=130)
    records = shop.run(collect, source=str(tmp_path / "reviews.csv"), licence="own", text=("text",), numbers=("stars",), label="label",
                       person="user")
    shop.act(source_add, name="shop-api", url="https://shop.example.com/orders")
    shop.act(privacy_budget, datasets=tuple(datasets_of(shop, [records])), name="reviews", epsilon=1.0)
    shop.run(private, (records,), epsilon=0.6)
    with pytest.raises(MofangError) as told:
        shop.run(private, (records,), epsilon=0.5)
    assert told.value.code == "privacy-spent"
    made = project(shop, records, overlap=2)
    shown = {task: told_task(shop, "reviews", task)["values"] for task in take(shop, "a", made, 8)}
    for task, values in shown.items():
        answer(shop, "a", made, task, "好")
        person(shop, "a").act(queue.label_comment, project=made.id, task=task, text=f"说的是{values['text']}")
    shop.act(desk.label_adjudicate, project=made.id, task=3, answer={"label": "坏"})
    report = shop.act(erase, person=(PERSON,), why="request 9")
    assert report.records == 4 and report.held["tasks"] == 4 and report.descent.people["labels"] == ["reviews"]
    assert Tombstones(shop).person(PERSON) and projects(shop)[0].gone == 4
    for task, values in shown.items():
        if SENTENCE in values["text"]:
            with pytest.raises(MofangError, match="erased"):
                told_task(shop, "reviews", task)
        else:
            now = told_task(shop, "reviews", task)
            assert now["values"] == values and now["remarks"][0]["text"].endswith(values["text"]), "tasks keep their numbers"
    gathered = current_answers(shop, made)
    labelled = shop.run(aggregate, gathered, (shop.artifact(shop.ledger.get(records.entry)),))
    assert labelled.measures["kept"] == 7 and gathered.measures["answers"] == 7 and gathered.measures["decisions"] == 0
    assert not set(take(shop, "b", made, 100)) & {3, 50, 51, 120}
    assert shop.verify() == []


def _worker(place: str, url: str, name: str, task_most: int) -> None:
    shop = Shop(Path(place), database=url) if url else Shop(Path(place))
    mine = person(shop, name)
    for _ in range(task_most):
        given = mine.act(queue.label_next, project="reviews", count=1)
        if not given.tasks:
            break
        mine.act(queue.label_answer, project="reviews", task=given.tasks[0], answer={"label": "好"})


def test_twenty_people_at_once_never_give_a_third_answer(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    made = project(shop, texts(shop, tmp_path, 15), overlap=2)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_worker, args=(str(shop.path), "", f"p{number}", 15)) for number in range(20)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
    assert [one.exitcode for one in workers] == [0] * 20
    said: Counter[int] = Counter()
    who: dict[int, set[str]] = {}
    for row in shop.journals.rows("labels"):
        if row.kind == "answer":
            said[row.body["task"]] += 1
            who.setdefault(row.body["task"], set()).add(row.body["by"])
    assert said == dict.fromkeys(range(15), 2) and all(len(one) == 2 for one in who.values())
    assert json.dumps(sorted(said)) and shop.verify() == [] and projects(shop)[0].done == 15
    del made


