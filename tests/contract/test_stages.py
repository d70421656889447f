"""The contract: what every stage promises, checked for every stage and every task."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.lock import import_stage, locked
from mofang.core.run import Run
from mofang.core.shop import Shop
from tests.contract.world import World, calls

STAGES = tuple(sorted(set(locked()["stages"])))
ELSEWHERE = {"gauge": "its contract stands in tests/fit/test_gauge.py: it pretrains several networks",
             "invoice": "its contract stands in tests/trade/test_invoices.py: it needs metered usage",
             "private": "its contract stands in tests/data/test_private.py: it needs a privacy budget, and its answers have noise",
             **dict.fromkeys(("generate", "prefer", "reinforce"), "tests/fit/test_generation.py: they need a generator"),
             "index": "its contract stands in tests/serve/test_search.py: it needs a model that embeds texts",
             "adopt": "its contract stands in tests/fit/test_adopt.py: it needs a model that was made elsewhere",
             "remeasure": "its contract stands in tests/serve/test_three_shops.py: it needs a package from another machine"}
MEASURES_TIME = {"package"}  # its bytes hold measured milliseconds
HERE = [name for name in STAGES if name not in ELSEWHERE]


def test_every_stage_has_its_contract_here_or_a_reason_elsewhere(world: World) -> None:
    assert set(STAGES) == set(calls(world)) | set(ELSEWHERE)


def called(world: World, shop: Shop, name: str, inputs: tuple[Any, ...] | None = None) -> Artifact:
    given, settings = calls(world)[name]
    spec = import_stage(name)
    assert spec is not None
    return shop.run(spec.function, *(given if inputs is None else inputs), **settings)


@pytest.mark.parametrize("name", HERE)
def test_the_second_run_is_reused(world: World, name: str) -> None:
    again = called(world, world.shop, name)
    entry = world.shop.ledger.get(again.entry)
    assert entry.kind == "reuse" and again.digest == world.made[name].digest


@pytest.mark.parametrize("name", HERE)
def test_the_ledger_is_complete(world: World, name: str) -> None:
    body = world.shop.ledger.get(world.made[name].entry).body
    assert {"stage", "version", "settings", "inputs", "output", "licences", "cost", "code", "lineage", "who"} <= body.keys()
    assert body["code"]["closure"] == locked()["stages"][name]["closure"]
    assert body["cost"]["total"]["cpu_s"] >= body["cost"]["own"]["cpu_s"] >= 0
    assert "CC-BY-4.0" in body["licences"] or not body["inputs"], "licences are carried as a union"
    assert len(body["inputs"]) == len([one for one in calls(world)[name][0] if one is not None])


@pytest.mark.parametrize("name", HERE)
def test_settings_are_refused_and_survive_json(world: World, name: str) -> None:
    spec = import_stage(name)
    assert spec is not None
    inputs, settings = calls(world)[name]
    with pytest.raises(MofangError) as error:
        world.shop.run(spec.function, *inputs, **settings, no_such_setting=1)
    assert error.value.code == "setting-unknown"
    checked = spec.check(settings)
    through = orjson.loads(orjson.dumps(spec.changed(checked)))
    assert spec.changed(spec.check(through)) == spec.changed(checked)
    assert spec.json_schema()["properties"].keys() == {one.name for one in spec.settings}
    assert spec.doc, "the first sentence is the help text"


@pytest.mark.parametrize("name", HERE)
def test_wrong_inputs_are_refused(world: World, name: str) -> None:
    spec = import_stage(name)
    assert spec is not None
    if spec.inputs:
        with pytest.raises(MofangError) as error:
            world.shop.run(spec.function, world.made["evaluate"] if name != "package" else world.made["collect"],
                           **calls(world)[name][1])
        assert error.value.code == "input-wrong"


@pytest.fixture(scope="session")
def twin(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A second shop with the same secrets, in which nothing was made yet."""
    place = tmp_path_factory.mktemp("twin") / "shop"
    Shop.make(place)
    shutil.copytree(world.shop.path / "keys", place / "keys")
    return Shop(place)


def test_the_same_seed_gives_the_same_bytes_in_another_shop(world: World, twin: Shop) -> None:
    """Stage by stage on the twin's own artifacts, killed after every sealed part: the digests equal the first shop's."""
    copy = World(**{**world.__dict__, "shop": twin, "made": {}})
    for name in ("collect", "clean", "snapshot", "features", "augment", "train", "select", "export", "baseline", "evaluate", "package"):
        copy.made[name] = _killed_after_every_part(copy, twin, name) if name in ("collect", "clean", "snapshot", "features", "augment") else (
            called_step(copy, twin, name))
        if name not in MEASURES_TIME:
            assert copy.made[name].digest == world.made[name].digest, f"{name} depends on more than its inputs"
    assert twin.verify() == []


def called_step(world: World, shop: Shop, name: str) -> Artifact:
    """Call a stage in a world that is only made up to it."""
    filled = World(**{**world.__dict__, "made": _Later(world.made)})
    return called(filled, shop, name)


class _Later(dict[str, Any]):
    """Artifacts that are not made yet stand as themselves until they are asked for."""

    def __missing__(self, name: str) -> Any:
        return _Unmade()


class _Unmade:
    def __truediv__(self, name: str) -> _Unmade:
        return self


def _killed_after_every_part(world: World, shop: Shop, name: str) -> Artifact:
    """Die after the n-th sealed part, for every n, in a child; then finish here."""
    for nth in range(1, 30):
        child = os.fork()
        if child == 0:
            _die_after_part(nth)
            dying = Shop(shop.path)
            moved = {key: dying.artifact(dying.ledger.get(one.entry)) for key, one in world.made.items()}
            called_step(World(**{**world.__dict__, "shop": dying, "made": moved}), dying, name)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        shop.ledger.db.run("delete from lease")
        if status == 0:
            break
    return called_step(world, shop, name)


def _die_after_part(nth: int) -> None:
    seen, plain = [0], Run._remember

    def remember(self: Run, part: Any) -> None:
        plain(self, part)
        seen[0] += 1
        if seen[0] == nth:
            os.kill(os.getpid(), 9)

    Run._remember = remember  # type: ignore[method-assign]


@pytest.mark.parametrize("content", ["", "text,label\n", "text,label\n只有一条,pos\n", "text,label\n甲,pos\n乙,pos\n丙,pos\n"],
                         ids=["nothing", "a head only", "one record", "one class"])
def test_too_little_data_ends_in_a_clear_error(tmp_path: Path, shop: Shop, content: str) -> None:
    from mofang.recipe import clean, collect, select, snapshot

    source = tmp_path / "few.csv"
    source.write_text(content, encoding="utf-8")
    with pytest.raises(MofangError) as error:
        records = shop.run(collect, source=str(source), licence="own", text=("text",), label="label")
        kept = shop.run(clean, records) / "kept"
        data = shop.run(snapshot, kept, task="text_classification", label="label", inputs=("text",))
        shop.run(select, data, families=("linear",))
    assert error.value.what and error.value.fix
    assert shop.verify() == []
