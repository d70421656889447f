"""The contract of the stages that start from a model: generate, prefer, reinforce and index, also as jobs over HTTP.

One tiny generator and one tiny embedder are what they start from. Each stage is reused, gives the same bytes in another shop
after a kill behind every part, refuses what it does not know, and does over HTTP what it does at home.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.lock import import_stage, locked
from mofang.core.shop import Shop
from tests.contract.test_stages import _die_after_part
from tests.fit.placing import THINGS, written
from tests.web.consoling import Consoling, member

WRITER = {"tag": "generator", "layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "max_length": 32, "epochs": 1,
          "tokens": 512}
FINDER = {"tag": "termvectors", "width": 8, "epochs": 1, "batch": 32}
STAGES = ("generate", "prefer", "reinforce", "index")


@dataclass
class Home:
    """A shop with records, a generator and the graph of an embedder, and what the stages made there."""

    shop: Shop
    records: Artifact
    writer: Artifact
    finder: Artifact
    made: dict[str, Artifact]

    def call(self, stage: str) -> Artifact:
        """One of the stages, as everybody calls it here."""
        spec = import_stage(stage)
        assert spec is not None
        inputs, settings = self.given(stage)
        return self.shop.run(spec.function, *inputs, **settings)

    def given(self, stage: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs and settings."""
        return {
            "generate": ((self.writer, self.records), {"prompt": "text", "max_tokens": 3}),
            "prefer": ((self.writer, self.records), {"prompt": "text", "epochs": 1, "validation": 0.25}),
            "reinforce": ((self.writer, self.records), {"prompt": "text", "reward": {"tag": "length", "most": 9}, "group": 2,
                                                        "epochs": 1, "max_tokens": 2, "validation": 0.25}),
            "index": ((self.records, None, self.finder), {"text": "text"}),
        }[stage]


def rows() -> list[dict[str, Any]]:
    """Texts, answers to them, and a better and a worse answer."""
    chance, made = random.Random(3), []
    for number in range(40):
        thing = chance.choice(THINGS)
        made.append({"text": f"{thing} {number}", "label": f"a {thing}", "chosen": f"the {thing}", "rejected": "no"})
    return made


def start(shop: Shop, folder: Path) -> Home:
    """Records, a generator, an embedder."""
    from mofang.recipe import collect, export, snapshot, train

    source = str(written(folder, rows()))
    read = {"source": source, "licence": "CC0-1.0", "origin": "tests", "label": "label", "text": ("text", "chosen", "rejected")}
    records = shop.run(collect, **read)
    cut = {task: shop.run(snapshot, records, task=task, label="label", inputs=("text",), validation=0.2, test=0.2)
           for task in ("text_generation", "text_embedding")}
    writer = shop.run(train, cut["text_generation"], family=WRITER)
    finder = shop.run(export, shop.run(train, cut["text_embedding"], family=FINDER))
    return Home(shop, records, writer, finder, {})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("starts")
    made = start(Shop.open(folder / "shop"), folder)
    shutil.copytree(made.shop.path, folder / "twin")  # before any of the stages ran
    made.made = {stage: made.call(stage) for stage in STAGES}
    return made


def moved(home: Home, shop: Shop) -> Home:
    """The same artifacts in a copy of the shop."""
    found = {name: shop.artifact(shop.ledger.get(getattr(home, name).entry)) for name in ("records", "writer", "finder")}
    return Home(shop, **found, made={})


@pytest.mark.parametrize("stage", STAGES)
def test_the_second_run_is_reused_and_says_all_of_itself(home: Home, stage: str) -> None:
    again = home.call(stage)
    assert home.shop.ledger.get(again.entry).kind == "reuse" and again.digest == home.made[stage].digest
    body = home.shop.ledger.get(home.made[stage].entry).body
    assert body["code"]["closure"] == locked()["stages"][stage]["closure"] and "CC0-1.0" in body["licences"]
    assert body["cost"]["total"]["cpu_s"] >= body["cost"]["own"]["cpu_s"] >= 0
    spec = import_stage(stage)
    assert spec is not None and spec.doc
    inputs, settings = home.given(stage)
    with pytest.raises(MofangError) as error:
        home.shop.run(spec.function, *inputs, **settings, no_such_setting=1)
    assert error.value.code == "setting-unknown"
    with pytest.raises(MofangError) as error:
        home.shop.run(spec.function, home.made["generate"], **settings)
    assert error.value.code == "input-wrong"
    through = orjson.loads(orjson.dumps(spec.changed(spec.check(settings))))
    assert spec.changed(spec.check(through)) == spec.changed(spec.check(settings))


def test_killed_behind_every_part_the_bytes_are_the_same_in_another_shop(home: Home) -> None:
    place = home.shop.path.parent / "twin"
    for stage in STAGES:
        for nth in range(1, 30):
            child = os.fork()
            if child == 0:
                _die_after_part(nth)
                moved(home, Shop(place)).call(stage)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            Shop(place).ledger.db.run("delete from lease")
            if status == 0:
                break
        assert nth > 1, "it was killed at least once"
        assert moved(home, Shop(place)).call(stage).digest == home.made[stage].digest, f"{stage} depends on more than its inputs"
    assert Shop(place).verify() == []


@pytest.fixture(scope="module")
def console(home: Home) -> Iterator[tuple[Consoling, str]]:
    for name in ("records", "writer", "finder"):
        home.shop.name(name, getattr(home, name))
    running = Consoling(home.shop)
    yield running, member(home.shop, "trainer", "train")
    running.stop()


@pytest.mark.cluster
def test_over_http_a_job_makes_what_the_stage_makes_at_home(home: Home, console: tuple[Consoling, str]) -> None:
    running, token = console
    inputs = {stage: ["writer", "records"] for stage in STAGES} | {"index": ["records", None, "finder"]}
    for stage in STAGES:
        more = {"dims": 4} if stage == "index" else {"seed": 5}
        given = {"stage": stage, "inputs": inputs[stage], "settings": home.given(stage)[1] | more}
        status, _, body = running.call("POST", "/api/runs", given, token=token)
        events = [json.loads(line) for line in body.splitlines() if line.strip()]
        assert status == 200 and not [one for one in events if "error" in one], events
        (made,) = [one["made"] for one in events if "made" in one]
        assert home.shop.ledger.get(made["entry"]).kind == "done" and made["kind"] == home.made[stage].kind
        spec, (given_, settings) = import_stage(stage), home.given(stage)
        assert spec is not None
        again = home.shop.run(spec.function, *given_, **settings, **more)
        assert home.shop.ledger.get(again.entry).kind == "reuse" and [part.to_list() for part in again.parts] == made["parts"]
    refused = {"stage": "prefer", "inputs": inputs["prefer"], "settings": {"beta": -1}}
    _, _, body = running.call("POST", "/api/runs", refused, token=token)
    assert b'"setting-' in body, body
