"""Several models in one process: within the bound on memory, opened when asked for, replaced without one failed request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.predictor import Package, Predictor
from mofang.serve.batching import Batcher
from mofang.serve.models import ALONE, MB, WEIGHT, Models, Offer, free_bytes
from tests.engine import made
from tests.serve.test_package import packaged

SIZE = 10 * MB
EACH = SIZE * WEIGHT + ALONE


@dataclass
class One:
    """A model that tells its name, and how often it was opened."""

    name: str
    batcher: Batcher


class Shelf:
    """Offers whose models can be made to fail."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.broken: set[str] = set()
        self.slow_s = 0.0

    def offer(self, name: str, size: int = SIZE) -> Offer:
        def open_one() -> One:
            time.sleep(self.slow_s)
            if name in self.broken:
                raise MofangError("engine-failed", detail="a byte was flipped")
            self.opened.append(name)
            return One(name, Batcher(lambda records: [{"from": name} for _ in records]))

        return Offer(name, size, open_one)


def ask(models: Models, name: str) -> str:
    """Which release answers."""
    box: list[Any] = []
    done = threading.Event()
    models.wake(name).batcher.submit([{}], lambda outcome: (box.append(outcome), done.set()), deadline_s=time.monotonic() + 20)
    assert done.wait(20)
    return str(box[0][0]["from"])


def refused(code: str, call: Callable[[], Any]) -> MofangError:
    with pytest.raises(MofangError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


def test_a_model_opens_when_it_is_asked_for_and_the_longest_unused_makes_room() -> None:
    shelf = Shelf()
    models = Models(offers=[shelf.offer(f"m{n}@1") for n in range(3)], memory_bytes=2 * EACH)
    assert shelf.opened == [] and models.names() == ["m0@1", "m1@1", "m2@1"] and models.get("m0") is None
    assert [ask(models, "m0"), ask(models, "m1@1"), ask(models, "m0")] == ["m0@1", "m1@1", "m0@1"]
    assert shelf.opened == ["m0@1", "m1@1"] and models.used_bytes == 2 * EACH
    assert ask(models, "m2") == "m2@1"
    assert models.get("m1") is None and models.get("m0").name == "m0@1" and models.unloads == 1
    assert ask(models, "m1") == "m1@1" and shelf.opened[-1] == "m1@1" and models.used_bytes <= models.memory_bytes
    models.close()


def test_one_too_large_is_refused_before_it_is_read_and_disturbs_nobody() -> None:
    shelf = Shelf()
    models = Models(offers=[shelf.offer("small@1"), shelf.offer("huge@1", 10**15)], memory_bytes=2 * EACH)
    assert ask(models, "small") == "small@1"
    error = refused("model-too-large", lambda: models.wake("huge"))
    assert error.status == 507 and shelf.opened == ["small@1"] and ask(models, "small") == "small@1"
    refused("model-too-large", models.wake_all)
    assert models.wake("nothing") is None
    models.close()


def test_the_start_opens_what_fits_and_leaves_the_rest() -> None:
    shelf = Shelf()
    models = Models(offers=[shelf.offer(f"m@{n}") for n in (1, 2, 10)], memory_bytes=2 * EACH)
    models.wake_all()
    assert shelf.opened == ["m@10", "m@2"] and models["m"].name == "m@10" and "m@1" in models and "m@3" not in models
    models.close()


def test_a_new_release_takes_over_and_a_damaged_one_does_not() -> None:
    shelf = Shelf()
    models = Models(offers=[shelf.offer("m@1")], memory_bytes=9 * EACH)
    models.wake_all()
    assert models.replace([shelf.offer("m@2")]) == {} and ask(models, "m") == "m@2" and models.names() == ["m@2"]
    shelf.broken.add("m@3")
    told = models.replace([shelf.offer("m@3")])
    assert told["m@3"].code == "engine-failed" and models.names() == ["m@2"] and ask(models, "m") == "m@2"
    models.close()


def test_replacing_under_load_fails_nobody() -> None:
    """Requests find a model, are queued, and the model is put away meanwhile: each is answered by one of the releases."""
    shelf = Shelf()
    models = Models(offers=[shelf.offer("m@1")], memory_bytes=9 * EACH)
    models.wake_all()
    stop, answers, faults = threading.Event(), [], []

    def load() -> None:
        while not stop.is_set():
            for _ in range(50):
                try:
                    answers.append(ask(models, "m"))
                    break
                except MofangError as error:  # the desk asks again in the same way
                    if error.code != "closing":
                        faults.append(error)
                        break

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        assert models.replace([shelf.offer(f"m@{version}")]) == {}
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == [] and {"m@1", "m@11"} <= {*answers, ask(models, "m"), "m@1"} and ask(models, "m") == "m@11"
    models.close()


def test_many_who_ask_at_once_open_it_once() -> None:
    shelf = Shelf()
    shelf.slow_s = 0.1
    models = Models(offers=[shelf.offer("m@1")], memory_bytes=9 * EACH)
    threads = [threading.Thread(target=ask, args=(models, "m")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shelf.opened == ["m@1"]
    models.close()


def test_free_memory_is_the_control_groups_where_that_is_less(tmp_path: Path) -> None:
    assert free_bytes() > 0
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    proc.mkdir()
    groups.mkdir()
    assert free_bytes(proc, groups) == 0
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    assert free_bytes(proc, groups) == 4 * MB
    (groups / "memory.max").write_text(f"{3 * MB}\n")
    (groups / "memory.current").write_text(f"{2 * MB}\n")
    (groups / "memory.stat").write_text(f"active_file 5\ninactive_file {MB // 2}\n")
    assert free_bytes(proc, groups) == MB + MB // 2
    (groups / "memory.max").write_text("max\n")
    assert free_bytes(proc, groups) == 4 * MB


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A small package in a shop."""
    place = tmp_path_factory.mktemp("models")
    return packaged(Shop.open(place / "shop"), made.text_folder(place / "graph"))


def test_one_byte_flipped_anywhere_refuses_the_release_and_the_old_one_goes_on(good: Package) -> None:
    """200 offsets over every file of a package."""
    def offer(name: str) -> Offer:
        def open_one() -> One:
            predictor = Predictor(good)
            return One(name, Batcher(lambda records: [{"from": name} for _ in predictor.predict([{"text": "好"}])]))

        return Offer(name, 1000, open_one)

    models = Models(offers=[offer("m@1")], memory_bytes=1 << 40)
    models.wake_all()
    paths = sorted(good.path(part.name) for part in good.parts)
    for path in paths:
        path.chmod(0o600)
    refusals = 0
    for number in range(200):
        path = paths[number % len(paths)]
        data = path.read_bytes()
        at = (number * 7919) % len(data)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << number % 8]) + data[at + 1 :])
        told = models.replace([offer("m@2")])
        refusals += "m@2" in told
        path.write_bytes(data)
        if number % 50 == 0:
            assert ask(models, "m") == "m@1" and told["m@2"].code == "package-damaged"
    assert refusals == 200 and models.names() == ["m@1"]
    assert models.replace([offer("m@2")]) == {} and ask(models, "m") == "m@2", "whole again it is taken"
    models.close()


def test_a_small_model_opens_within_a_second(good: Package) -> None:
    assert min(Predictor(good).load_seconds for _ in range(3)) < 1
