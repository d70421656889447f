"""Kill -9 in the middle of pretrain, prefer and reinforce: the result is that of one that was never killed, byte for byte."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import time
from typing import Any

import pytest

from mofang.core.shop import Shop
from mofang.fit.loop.learning import Learning
from tests.contract.test_generator_stages import Home, moved, start

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
KILLS, ATTEMPTS_MOST = 3, 40
PRETRAIN = {"architecture": {"tag": "gpt", "depth": 1, "width": 16, "heads": 1}, "context": 32, "steps": 30, "batch_tokens": 256,
            "lines": 1, "checks": 2}


@pytest.fixture(autouse=True)
def one_thread_and_a_checkpoint_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Learning.plan
    monkeypatch.setenv("MOFANG_THREADS", "1")
    monkeypatch.setattr(Learning, "plan", lambda self, plan: dataclasses.replace(plain(self, plan), checkpoint_steps=1))


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Any]:
    """A shop with records, a generator and shards, and a copy of it."""
    from mofang.recipe import shard, tokenizer

    folder = tmp_path_factory.mktemp("kills")
    home = start(Shop.open(folder / "shop"), folder)
    words = home.shop.run(tokenizer, (home.records,), size=300)
    shards = home.shop.run(shard, (home.records,), words, validation=0.2)
    shutil.copytree(home.shop.path, folder / "twin")
    return home, shards


@pytest.mark.parametrize("stage", ["pretrain", "prefer", "reinforce"])
def test_killed_at_random_it_ends_as_if_it_never_was(began: tuple[Home, Any], stage: str) -> None:
    import torch

    torch.set_num_threads(1)
    home, shards = began
    begin = time.monotonic()
    whole = run(home, shards, stage)
    took = time.monotonic() - begin
    place, lot, kills = home.shop.path.parent / "twin", random.Random(stage), 0
    for _ in range(ATTEMPTS_MOST):
        process = os.fork()
        if not process:
            try:
                shop = Shop(place)
                run(moved(home, shop), shop.artifact(shop.ledger.get(shards.entry)), stage)
            finally:
                os._exit(0)
        if kills < KILLS:
            time.sleep(lot.uniform(0.2, 0.8) * took)
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        Shop(place).ledger.db.run("delete from lease")
        kills += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            break
    assert kills, "it was killed at least once"
    again = run(moved(home, Shop(place)), Shop(place).artifact(Shop(place).ledger.get(shards.entry)), stage)
    assert Shop(place).ledger.get(again.entry).kind == "reuse", "the killed one came to its end"
    assert {part.name: part.digest for part in again.parts} == {part.name: part.digest for part in whole.parts}
    assert Shop(place).verify() == []


def run(home: Home, shards: Any, stage: str) -> Any:
    """The stage, long enough to be killed in."""
    from mofang.recipe import prefer, pretrain, reinforce

    if stage == "pretrain":
        return home.shop.run(pretrain, shards, **PRETRAIN)
    inputs, settings = home.given(stage)
    return home.shop.run({"prefer": prefer, "reinforce": reinforce}[stage], *inputs, **{**settings, "epochs": 4})
