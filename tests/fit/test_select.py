"""Choosing within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import orjson
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit.families import Linear, Mlp, Pretrained, Resnet, Xgboost
from mofang.fit.family import Estimate
from mofang.fit.select import expected, select
from mofang.fit.size import Size, size_of
from mofang.fit.tasks import candidates
from tests.fit.planted import ROLES, planted

TEXT, IMAGE, TABLE = "text_classification", "image_classification", "table_classification"


@dataclass(frozen=True, kw_only=True)
class Slow(Mlp):
    """Trains quickly but says that it takes ten minutes."""

    tag: ClassVar[str] = "slow-in-tests"

    def estimate(self, size: Size) -> Estimate:
        return Estimate(600.0)


Mlp.kinds.pop(Slow.tag)  # collected by every process that runs tests, known only where these run


@pytest.fixture(scope="module", autouse=True)
def known_slow() -> Any:
    Mlp.kinds[Slow.tag] = Slow
    yield
    Mlp.kinds.pop(Slow.tag)


def test_the_best_on_validation_wins_and_the_table_says_why(
    fit_shop: Shop, snapshots: dict[str, Snapshot]
) -> None:
    families = (Slow(), Mlp(hidden=(2,), epochs=1), Linear(), Xgboost(rounds=20))
    model = fit_shop.run(select, snapshots[TABLE], families=families, budget_s=200.0)
    table = model.measures["candidates"]
    status = {row["family"]: row["status"] for row in table}
    assert status["slow-in-tests"] == "skipped"
    assert sorted(status.values()).count("chosen") == 1
    best = max((row for row in table if "validation" in row), key=lambda row: row["validation"])
    chosen = next(row for row in table if row["status"] == "chosen")
    assert chosen["validation"] == best["validation"]
    assert model.read_json("about.json")["family"]["tag"] == chosen["family"]
    assert "600 s" in next(row["reason"] for row in table if row["status"] == "skipped")


def test_a_larger_budget_reuses_what_was_trained(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path)
    snapshot = shop.run(planted, task=TABLE)
    shop.run(select, snapshot, families=(Linear(), Slow(epochs=1)), budget_s=100.0)
    assert _trained(shop) == 1
    shop.run(select, snapshot, families=(Linear(), Slow(epochs=1)), budget_s=1000.0)
    assert _trained(shop) == 2, "the linear model was reused, the slow one trained"


def _trained(shop: Shop) -> int:
    rows = shop.ledger.db.rows("select body from entry where kind='done'")
    return sum(orjson.loads(row[0])["stage"] == "train" for row in rows)


def test_a_budget_too_small_for_anything_names_the_smallest(
    fit_shop: Shop, snapshots: dict[str, Snapshot]
) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(select, snapshots[TABLE], families=(Slow(), Linear()), budget_s=0.01)
    assert caught.value.code == "budget-too-small"
    assert caught.value.values["family"] == "linear"


def test_the_first_candidate_is_shortened_to_the_budget(
    fit_shop: Shop, snapshots: dict[str, Snapshot]
) -> None:
    model = fit_shop.run(select, snapshots[TABLE], families=(Slow(epochs=2), Slow(epochs=3)), budget_s=70.0)
    first, second = model.measures["candidates"]
    assert first["status"] == "chosen" and first["limit_s"] == 70.0
    assert model.read_json("about.json")["seconds"] == 70.0
    assert second["status"] == "skipped" and "-" not in second["reason"]


def test_a_first_candidate_that_overruns_its_estimate_is_trained_again_shortened(
    fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit.families import linear

    fit, seen = Linear.fit, []

    def overruns(family: Linear, material: Any, conditions: Any) -> Any:
        seen.append(conditions.seconds)
        if not conditions.seconds:
            raise MofangError("time-is-up", step=0, steps=1)
        return fit(family, material, conditions)

    monkeypatch.setattr(linear.Linear, "fit", overruns)
    model = fit_shop.run(select, snapshots[TEXT], families=(Linear(c=3.0),), budget_s=50.0)
    (row,) = model.measures["candidates"]
    assert seen == [0.0, row["limit_s"]] and row["status"] == "chosen" and "code" not in row


def test_a_family_that_refuses_stands_in_the_table(
    fit_shop: Shop, snapshots: dict[str, Snapshot], tiny_base: Path
) -> None:
    families = (Pretrained(base=str(tiny_base), epochs=1), Linear())
    model = fit_shop.run(select, snapshots[TEXT], families=families, budget_s=10_000.0)
    row = next(row for row in model.measures["candidates"] if row["family"] == "pretrained")
    assert row["status"] == "refused" and row["code"] == "vocabulary-unsuited" and "%" in row["reason"]


def test_if_all_refuse_the_first_refusal_is_the_error(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(select, snapshots[TEXT], families=(Resnet(),), budget_s=1e9)
    assert caught.value.code == "family-unsuited"


@pytest.mark.parametrize("task", ROLES)
def test_every_task_proposes_families_that_fit_it(task: str, snapshots: dict[str, Snapshot]) -> None:
    size = size_of(snapshots[task])
    proposed = candidates(task, size)
    assert proposed[0] == Linear() and len(set(proposed)) == len(proposed) > 2
    assert all(task in family.tasks for family in proposed)
    seconds = [family.estimate(size).seconds(1e11) for family in proposed]
    assert all(0 < one < 600 for one in seconds), "tiny data is never dear"
    large = Size(size.rows * 1000, size.classes, size.length, size.language)
    assert all(
        family.estimate(large).seconds(1e11) > one for family, one in zip(proposed, seconds, strict=True)
    )


def test_size_of_counts_what_matters(snapshots: dict[str, Snapshot]) -> None:
    assert size_of(snapshots[IMAGE]).length == 144
    assert size_of(snapshots[TABLE]).length == 3
    assert size_of(snapshots[TEXT]).language == "zh"


def test_what_a_search_is_expected_to_take() -> None:
    assert expected([2.0, 30.0, 500.0], 300.0) == 32.0, "the dear one does not fit"
    assert expected([2.0, 30.0, 500.0], 900.0) == 532.0
    assert expected([2000.0], 300.0) == 300.0, "the first is shortened"
    assert expected([], 300.0) == 0.0


def test_a_learning_curve_stops_what_cannot_win(fit_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.fit import curve
    from mofang.fit import select as selecting
    from mofang.fit.families import Rnn
    from mofang.fit.loop import deadline

    ticks = count()  # time is a millisecond for every look at the clock, whatever else this machine does
    for module in (selecting, deadline):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 1000))
    monkeypatch.setattr(selecting, "multiply_rate", lambda: 1e11)  # sizes of the parts follow from it
    monkeypatch.setattr(curve, "DEAR_ROWS", 50)
    monkeypatch.setattr(curve, "DEAR_SHARE", 0.0)
    monkeypatch.setattr(curve, "ROWS_LEAST", 5)
    weak = Rnn(width=1, embedding=1, vocabulary=120, learning_rate=1e-5)
    strong = Rnn(width=16, embedding=16, vocabulary=120, learning_rate=3e-2, dropout=0.0, tokens=256, epochs=6)
    snapshot = fit_shop.run(planted, task=TEXT, rows=400)
    model = fit_shop.run(selecting.select, snapshot, families=(Linear(), weak), budget_s=120.0)
    linear, stopped = model.measures["candidates"]
    assert stopped["status"] == "stopped" and len(stopped["curve"]["points"]) == 2 and linear["status"] == "chosen"
    assert linear["size_bytes"] > 0 and linear["answer_ms"] > 0
    spoilt = Linear(c=1e-9, terms=1)
    model = fit_shop.run(selecting.select, snapshot, families=(spoilt, strong), budget_s=120.0)
    assert [row["status"] for row in model.measures["candidates"]] == ["trained", "chosen"]
    assert model.measures["candidates"][1]["curve"]["points"][0][0] < 100


def test_a_power_law_is_continued() -> None:
    from mofang.fit.curve import Curve

    found = Curve(Linear(), 0, ((100, 1 - 0.4), (300, 1 - 0.4 * 3**-0.3)), 10_000)
    assert abs(found.power - 0.3) < 1e-9 and abs(found.whole - (1 - 0.4 * 100**-0.3)) < 1e-9 and found.most > found.whole
    timed = Curve(Linear(), 0, ((100, 0.7), (300, 0.8)), 1000, (4.0, 8.0), 2.0)
    assert abs(timed.whole_s - (2 * 20 + 2)) < 1e-9
    assert Curve(Linear(), 0, ((100, 0.7), (300, 0.6)), 1000).power == 0.05  # a curve that fell says little


def test_a_part_of_the_rows_has_all_classes_and_nests(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    from mofang.fit.material import part_of, read_material

    material = read_material(snapshots[TEXT], "accuracy")
    small, large = (part_of(material, share, 3).train for share in (0.1, 0.4))
    assert set(small.ids) < set(large.ids) < set(material.train.ids)
    assert abs(float(large.labels.mean()) - float(material.train.labels.mean())) < 0.1 and set(small.labels) == {0, 1}


def test_pretrained_encoders_race_and_the_winner_gets_what_is_left(
    fit_shop: Shop, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit import curve
    from mofang.fit import select as selecting

    monkeypatch.setattr(curve, "AHEAD_ROWS", 50)
    monkeypatch.setattr(curve, "DEAR_SHARE", 0.0)
    monkeypatch.setattr(selecting, "RACE_FROM_S", 1.0)
    monkeypatch.setattr(selecting.Trial, "probe", lambda trial: None)
    english = fit_shop.run(planted, task=TEXT, english=True)
    usual = {"base": str(tiny_base), "max_length": 32, "tokens": 512, "epochs": 4}
    able, slow = Pretrained(**usual, learning_rate=5e-3), Pretrained(**usual, learning_rate=1e-6)
    model = fit_shop.run(selecting.select, english, families=(Linear(c=1e-9, terms=1), slow, able), budget_s=90.0)
    table = model.measures["candidates"]
    won, lost = (next(row for row in table if row["settings"].get("learning_rate") == rate) for rate in (5e-3, 1e-6))
    assert won["status"] == "chosen" and won["raced"] > lost["raced"]
    assert lost["status"] == "stopped" and lost["code"] == "race" and f"{won['raced']:.3f}" in lost["reason"]
    assert model.read_json("about.json")["rows"]["validation"] > 0 and table[0]["family"] == "linear"


def test_one_pretrained_encoder_needs_no_race_and_comes_before_dear_networks_from_nothing(
    fit_shop: Shop, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit import curve
    from mofang.fit import select as selecting
    from mofang.fit.families import Averaged

    monkeypatch.setattr(curve, "AHEAD_ROWS", 50)
    monkeypatch.setattr(curve, "DEAR_SHARE", 0.0)
    monkeypatch.setattr(selecting, "FIRST_SHARE", 0.0)
    monkeypatch.setattr(selecting.Trial, "probe", lambda trial: None)
    english = fit_shop.run(planted, task=TEXT, english=True)
    able = Pretrained(base=str(tiny_base), max_length=32, tokens=512, learning_rate=5e-3, layers=1, epochs=1)
    families = (Linear(c=1e-9, terms=1), Averaged(width=8, hidden=8, epochs=2), able)
    model = fit_shop.run(selecting.select, english, families=families, budget_s=90.0)
    assert [row["family"] for row in model.measures["candidates"]] == ["linear", "pretrained", "averaged"]
    assert model.read_json("about.json")["architecture"]["config"]["num_hidden_layers"] == 1
