"""Sweeping: what nobody needs goes, what anybody needs stays, also in the very moment in which it is asked for."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from mofang.core import sweep as sweep_module
from mofang.core.canonical import canonical, sha256
from mofang.core.identity import now_us
from mofang.core.run import Run, leased
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.core.sweep import Litter, litter, sweep
from tests.core.kernel_stages import Numbers, count, split

DAY_S = 24 * 3600.0


def age(path: Path, days: float) -> Path:
    """Let a file or folder look so old."""
    for place in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(place, (time.time() - days * DAY_S,) * 2)
    return path


@pytest.fixture(autouse=True)
def change_times_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test cannot set a file's change time back; here the modification time alone says how old it is."""
    monkeypatch.setattr(sweep_module, "arrived_ns", lambda about: about.st_mtime_ns)


@stage(version=1)
def interrupted(run: Run, *, upto: int = 3, stop: bool = True) -> Numbers:
    """Writes one part, and is cut off before the next."""
    run.write_json("values.json", list(range(upto)))
    if stop:
        raise KeyboardInterrupt
    run.write_json("more.json", [upto])
    return run.result(Numbers)


def cut_off(shop: Shop, upto: int) -> Path:
    """A run that was stopped; the folder in which it can go on."""
    with pytest.raises(KeyboardInterrupt):
        shop.run(interrupted, upto=upto)
    return max((shop.path / "scratch").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def loose(shop: Shop, text: str, days: float = 3) -> Path:
    """A file in the store that nothing mentions."""
    data = text.encode()
    place = shop.store.path(sha256(data))
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)
    return age(place, days)


def kinds(found: list[Litter]) -> dict[str, int]:
    return {kind: sum(one.kind == kind for one in found) for kind in {one.kind for one in found}}


def test_each_kind_is_found_and_goes(shop: Shop) -> None:
    shop.run(split, shop.run(count, upto=9))
    old = age(cut_off(shop, 5), 8)
    unmentioned = loose(shop, "nobody's")
    torn = age(_written(shop.store.root / "ab" / f".{'0' * 64}.77"), 2)
    torn_settings = age(_written(shop.path / ".mofang.json.99.new"), 1)
    cache = age(_written(shop.path / "cache" / "source-x.json"), 40)
    older = age(_written(shop.path / "meter.db.format-1"), 40)
    finished = _written(shop.path / "scratch" / _a_key_that_is_done(shop) / "rest").parent
    found = litter(shop)
    assert kinds(found) == {"finished": 1, "abandoned": 1, "unmentioned": 1, "torn": 2, "cache": 1, "older": 1}
    assert next(one for one in found if one.kind == "unmentioned").size_bytes == len("nobody's")
    done = sweep(shop, found)
    assert done.removed == 7 and done.spared == 0 and done.size_bytes == sum(one.size_bytes for one in found)
    assert not [path for path in (old, unmentioned, torn, torn_settings, cache, older, finished) if path.exists()]
    assert shop.verify() == [] and litter(shop) == []


def _written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"torn")
    return path


def _a_key_that_is_done(shop: Shop) -> str:
    return next(shop.ledger.entries("done")).key


def test_what_is_young_living_or_mentioned_stays(shop: Shop) -> None:
    made = shop.run(count, upto=9)
    for path in shop.store.root.glob("*/*"):
        age(path, 100)
    resumable = age(cut_off(shop, 5), 6)
    loose(shop, "just written", days=0.5)
    key = "7" * 64
    age(_written(shop.path / "scratch" / key / "writing" / "x").parent.parent, 50)
    part = loose(shop, "of an unfinished run", days=6)
    (resumable / "parts.jsonl").write_bytes(canonical(["more", "bin", part.name, 20]) + b"\n")
    age(resumable, 6)
    with leased(shop, key):
        assert litter(shop) == []
    assert [one.kind for one in litter(shop)] == ["abandoned"], "without its lease the old one may go"
    assert litter(shop, days=5)[0].kind == "abandoned"
    assert made.read_json("values.json") == list(range(9))


def test_a_run_that_is_continued_meanwhile_is_let_be(shop: Shop) -> None:
    old = age(cut_off(shop, 5), 8)
    part = next(path for path in shop.store.root.glob("*/*"))
    age(part, 8)
    found = litter(shop)
    assert {one.kind for one in found} == {"abandoned", "unmentioned"}, "with the run its parts go"
    (old / "writing").mkdir(exist_ok=True)  # somebody goes on with it
    os.utime(old)
    done = sweep(shop, found)
    assert done.removed == 0 and done.spared == 2 and part.exists() and old.exists()


def test_a_file_that_is_asked_for_in_that_moment_comes_back(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run makes the same bytes again between the look and the removal."""
    data = canonical(list(range(7)))
    place = loose(shop, data.decode())
    found = litter(shop)
    plain = os.rename

    def keeps_first(source: str | Path, target: str | Path) -> None:
        monkeypatch.undo()
        again = tmp_path / "again"
        again.write_bytes(data)
        assert shop.store.keep(again)[0] == place.name
        plain(source, target)

    monkeypatch.setattr(os, "rename", keeps_first)
    assert sweep(shop, found).removed == 0
    assert place.read_bytes() == data
    age(place, 3)
    place.unlink()
    again = tmp_path / "again"
    again.write_bytes(data)
    assert shop.store.keep(again)[0] == place.name and place.exists(), "and after the removal it is stored anew"


@pytest.mark.parametrize("seed", range(3))
def test_after_any_sweep_everything_verifies(shop: Shop, seed: int) -> None:
    """Property: whatever happened, a sweep leaves a shop that verifies and whose every result can be read."""
    chance, made = random.Random(seed), []
    for number in range(12):
        what = chance.randrange(5)
        if what == 0:
            age(cut_off(shop, 20 + number), chance.choice((0.0, 6.0, 9.0)))
        elif what == 1:
            loose(shop, f"loose {number}", chance.choice((0.0, 2.0)))
        elif what == 2:
            made.append(shop.run(split, shop.run(count, upto=30 + number)))
        elif what == 3:
            shop.journals.record("deeds", [])
            age(_written(shop.path / "scratch" / sha256(str(number).encode()) / "x").parent, chance.choice((1.0, 8.0)))
        else:
            made.append(shop.run(count, upto=chance.randrange(40)))
    for path in shop.store.root.glob("*/*"):
        if chance.random() < 0.7:
            age(path, 5)
    shop.seal("deeds")
    before = {path.name for path in shop.store.root.glob("*/*")}
    found = litter(shop, days=chance.choice((0.0, 7.0)))
    sweep(shop, found)
    assert shop.verify() == []
    for one in made:
        for part in one.parts:
            assert one.path(part.name).exists()
    assert {path.name for path in shop.store.root.glob("*/*")} == before - {one.path.name for one in found}
    for folder in (shop.path / "scratch").iterdir():
        if (folder / "parts.jsonl").exists():
            shutil.rmtree(folder)
    assert shop.run(interrupted, upto=25, stop=False).read_json("values.json") == list(range(25))


def test_runs_beside_a_sweep_lose_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs make files while sweeps with no patience at all go over the same store."""
    monkeypatch.setattr(sweep_module, "YOUNG_S", 0.3)
    over, wrong = threading.Event(), list[str]()

    def busy() -> None:
        own, at = shop.again(), 0
        while not over.is_set():
            at += 1
            made = own.run(split, own.run(count, upto=at % 50, licence=f"l{at}"))
            wrong.extend(part.name for part in made.parts if not own.store.has(part.digest))

    thread = threading.Thread(target=busy)
    thread.start()
    until, swept = time.monotonic() + 1.5, 0
    while time.monotonic() < until:
        loose(shop, f"litter {now_us()}")
        swept += sweep(shop, litter(shop, days=0.0)).removed
    over.set()
    thread.join()
    assert wrong == [] and swept > 0
    assert shop.verify() == []
