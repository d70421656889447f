"""A recipe that hands a stage what it made before stays unchanged however often it is run."""

from __future__ import annotations

import pytest

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from tests.core.kernel_stages import Numbers, certify, count

CALLS: list[int] = []


class Kept(Artifact):
    kind = "kept-in-tests"


@stage(version=1)
def keep(run: Run, numbers: Numbers, previous: Kept | None = None, *, least: int = 0) -> Kept:
    """Numbers in the order in which they first came: those of before, then the new ones."""
    CALLS.append(least)
    before = previous.read_json("values.json") if previous else []
    now = [one for one in numbers.read_json("values.json") if one >= least]
    run.write_json("values.json", [one for one in before if one in now] + [one for one in now if one not in before])
    return run.result(Kept)


@stage(version=1, keyed_on="references")
def seal_up(run: Run, kept: Kept) -> Numbers:
    """What is keyed on lineages, as a package is."""
    run.write_json("values.json", kept.read_json("values.json"))
    return run.result(Numbers)


def recipe(shop: Shop, upto: int, least: int = 0) -> str:
    numbers = shop.run(count, upto=upto)
    kept = shop.run(keep, numbers, shop.last("numbers", Kept.kind), least=least)
    return str(shop.name("numbers", shop.run(seal_up, kept)))


@pytest.fixture(autouse=True)
def forget() -> None:
    CALLS.clear()


def test_an_unchanged_recipe_redoes_nothing_and_keeps_its_version(shop: Shop) -> None:
    assert [recipe(shop, 4) for _ in range(4)] == ["numbers@1"] * 4
    assert len(CALLS) == 1, "the first run had nothing before it; the next ones find it"


def test_new_rows_are_added_to_what_was_there_once(shop: Shop) -> None:
    assert [recipe(shop, upto) for upto in (4, 6, 6, 6)] == ["numbers@1", "numbers@2", "numbers@2", "numbers@2"]
    assert len(CALLS) == 2
    newest, first = shop.last("numbers", Kept.kind), shop.find("numbers@1")
    assert newest is not None
    previous = [one for one in shop.ledger.get(newest.entry).body["inputs"] if one["kind"] == Kept.kind]
    assert [one["entry"] for one in previous] == [shop.ancestor(first.entry, Kept.kind).entry]  # type: ignore[union-attr]


def test_going_back_is_a_new_version_that_continues_the_newest(shop: Shop) -> None:
    assert [recipe(shop, upto) for upto in (4, 6, 4, 4)] == ["numbers@1", "numbers@2", "numbers@3", "numbers@3"]
    assert len(CALLS) == 3


def test_another_setting_is_another_run(shop: Shop) -> None:
    assert [recipe(shop, 4), recipe(shop, 4, 1), recipe(shop, 4, 1)] == ["numbers@1", "numbers@2", "numbers@2"]
    assert CALLS == [0, 1]
    assert shop.verify() == []


def test_last_knows_nothing_of_a_new_name_or_kind(shop: Shop) -> None:
    assert shop.last("numbers", Kept.kind) is None
    recipe(shop, 4)
    assert shop.last("numbers", "model") is None
    assert shop.last("numbers", "numbers") is not None, "the package itself is nearest"
    assert certify.spec.takes_previous is False  # type: ignore[attr-defined]
