"""Private answers: noise that hides a record, one budget for a data set whatever it is called, and nothing told twice."""

from __future__ import annotations

import statistics
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.private import private
from mofang.data.protecting import noise
from mofang.data.protecting.budget import JOURNAL, budget_of, budgets, datasets_of, micros_of, privacy_budget
from mofang.data.snapshot import snapshot
from tests.data.test_protect import write


@pytest.fixture
def records(shop: Shop, tmp_path: Path) -> Any:
    return shop.run(collect, **{**write(tmp_path / "customers.csv"), "person": ""})


def allow(shop: Shop, artifact: Any, epsilon: float) -> None:
    shop.act(privacy_budget, datasets=tuple(datasets_of(shop, [artifact])), name="customers", epsilon=epsilon)


def left(shop: Shop, artifact: Any) -> int:
    found = budget_of(shop, list(datasets_of(shop, [artifact])))
    assert found is not None
    return found.left_micros


def test_nothing_is_told_without_a_budget(shop: Shop, records: Any) -> None:
    with pytest.raises(MofangError) as error:
        shop.run(private, (records,), epsilon=0.5)
    assert error.value.code == "privacy-no-budget"


def test_answers_are_near_the_truth_and_charged(shop: Shop, records: Any) -> None:
    allow(shop, records, 100)
    count = shop.run(private, (records,), epsilon=20).read_json("answer.json")
    assert abs(count["answer"] - 120) <= 4 and count["protects"] == "record" and count["within"] == 1
    some = shop.run(private, (records,), epsilon=20, where="评价=好").read_json("answer.json")
    assert abs(some["answer"] - 60) <= 4
    mean = shop.run(private, (records,), what="mean", column="年龄", bounds=(0, 100), epsilon=20).read_json("answer.json")
    truth = statistics.mean(float(row["年龄"]) for row in rows_of(records))
    assert abs(mean["answer"] - truth) < 2 and abs(mean["count"] - 120) <= 6
    cells = shop.run(private, (records,), what="histogram", cells=("评价=好|差",), epsilon=20).read_json("answer.json")
    assert abs(cells["answer"]["好"] - 60) <= 4 and cells["answer"]["*"] <= 4
    table = shop.run(private, (records,), what="release", cells=("评价=好|差", "年龄=20:60:4"), epsilon=20)
    with table.open("release.parquet") as file:
        released = pq.read_table(file)
    assert released.num_rows == 3 * 5 and abs(sum(released["count"].to_pylist()) - 120) <= 40
    assert left(shop, records) == 0 and "sequential" in count["composition"]


def rows_of(artifact: Any) -> list[dict[str, Any]]:
    from mofang.data.records import RecordReader

    return [row for batch in RecordReader(artifact).batches() for row in batch.rows()]


def test_a_question_asked_again_costs_nothing_and_has_the_same_answer(shop: Shop, records: Any) -> None:
    allow(shop, records, 1)
    first = shop.run(private, (records,), epsilon=0.4)
    again = shop.run(private, (records,), epsilon=0.4)
    assert first.digest == again.digest and left(shop, records) == 600_000
    assert len([row for row in shop.journals.rows(JOURNAL) if row.kind == "charge"]) == 1


def test_the_noise_is_not_recorded_and_differs_between_shops(tmp_path: Path) -> None:
    source = write(tmp_path / "customers.csv")
    answers = set()
    for name in ("one", "two"):
        shop = Shop.open(tmp_path / name)
        records = shop.run(collect, **source)
        allow(shop, records, 1)
        told = [shop.run(private, (records,), what="mean", column="年龄", bounds=(0, 100 + more), epsilon=0.2) for more in range(4)]
        answers.add(tuple(one.read_json("answer.json")["answer"] for one in told))  # one alone may end at a bound in both
    assert len(answers) == 2


def test_a_new_snapshot_and_a_copy_have_the_same_budget(shop: Shop, records: Any, tmp_path: Path) -> None:
    allow(shop, records, 1)
    shop.run(private, (records,), epsilon=0.75)
    cleaned = shop.run(clean, records, near_duplicate=0.0)
    cut = shop.run(snapshot, cleaned / "kept", task="text_classification", label="评价", inputs=("备注",), seed=9)
    parts = tuple(cut / part for part in ("train", "validation", "test"))
    with pytest.raises(MofangError) as error:
        shop.run(private, parts, epsilon=0.5)
    assert error.value.code == "privacy-spent" and "0.25" in str(error.value)
    copy = {**write(tmp_path / "renamed.csv"), "person": ""}
    with pytest.raises(MofangError) as error:
        shop.run(private, (shop.run(collect, **copy),), epsilon=0.5)
    assert error.value.code == "privacy-spent", "the same bytes under another name"
    grown = {**write(tmp_path / "customers.csv", rows=130), "person": ""}
    with pytest.raises(MofangError) as error:
        shop.run(private, (shop.run(collect, **grown),), epsilon=0.5)
    assert error.value.code == "privacy-spent", "the same source, grown"
    assert shop.run(private, parts, epsilon=0.25).read_json("answer.json")["budget"] == {"limit": "1", "left": "0"}
    assert shop.verify() == []


def test_fifty_callers_at_once_cannot_overspend(shop: Shop, records: Any) -> None:
    allow(shop, records, 1)
    outcomes: list[str] = []

    def ask(number: int) -> None:
        own = Shop.open(shop.path)
        try:
            own.run(private, (own.artifact(own.ledger.get(records.entry)),), epsilon=0.1, where=f"城市={number}")
            outcomes.append("told")
        except MofangError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(outcomes) == ["privacy-spent"] * 40 + ["told"] * 10
    assert all(one.spent_micros == 1_000_000 and one.answers == 10 for one in budgets(shop.control)) and shop.verify() == []


def test_what_fails_after_the_charge_stays_charged_and_says_so(shop: Shop, records: Any, monkeypatch: Any) -> None:
    allow(shop, records, 1)

    def broken(*_: Any) -> Any:
        raise MofangError("private-library")

    with monkeypatch.context() as patched:
        patched.setattr(noise, "noised", broken)
        with pytest.raises(MofangError) as error:
            shop.run(private, (records,), epsilon=0.4)
    assert left(shop, records) == 600_000 and "stays charged" in str(error.value)
    shop.run(private, (records,), epsilon=0.4)
    assert left(shop, records) == 600_000, "the same question uses what was charged"


def test_of_one_person_only_a_few_records_count(shop: Shop, tmp_path: Path) -> None:
    records = shop.run(collect, **write(tmp_path / "customers.csv"))
    allow(shop, records, 100)
    one = shop.run(private, (records,), epsilon=20).read_json("answer.json")
    two = shop.run(private, (records,), epsilon=20, contributions=2).read_json("answer.json")
    assert one["protects"] == "person" and abs(one["answer"] - 40) <= 4 and abs(two["answer"] - 80) <= 6 and two["within"] > one["within"] - 1


def test_the_mechanism_is_the_stated_one() -> None:
    values, scale = noise.noised([0] * 4000, 1, 0.5)
    spread = statistics.mean(abs(value) for value in values)
    assert scale >= 2 and 1.7 < spread < 2.3, "mean of |discrete Laplace| at scale 2 is about 1.96"
    within = noise.within(scale)
    assert 0.93 < sum(abs(value) <= within for value in values) / len(values) < 0.985


@pytest.mark.parametrize(("settings", "code"), [
    ({"what": "mean", "column": "年龄"}, "private-needs"), ({"what": "mean", "bounds": (0, 1)}, "private-needs"),
    ({"what": "mean", "column": "年龄", "bounds": (5, 5)}, "private-needs"), ({"what": "histogram"}, "private-needs"),
    ({"what": "histogram", "cells": ("年龄=0:100:0",)}, "protect-pair"), ({"what": "histogram", "cells": ("城市",)}, "protect-pair"),
    ({"what": "release", "cells": ("年龄=0:1:1000", "城市=0:1:1000")}, "private-needs"), ({"where": "没有=1"}, "column-missing"),
    ({"epsilon": 0}, "setting-refused"), ({"epsilon": float("nan")}, "setting-refused"),
])  # fmt: skip
def test_mistakes_cost_nothing(shop: Shop, records: Any, settings: dict[str, Any], code: str) -> None:
    allow(shop, records, 1)
    with pytest.raises(MofangError) as error:
        shop.run(private, (records,), **{"epsilon": 0.5, **settings})
    assert error.value.code == code and left(shop, records) == 1_000_000


def test_epsilon_is_charged_exactly_and_never_less() -> None:
    assert [micros_of(one) for one in (0.1, 0.5, 3.0, 1e-6, 1e-7, 0.1234567)] == [100_000, 500_000, 3_000_000, 1, 1, 123_457]
