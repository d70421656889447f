"""An erasure that is killed anywhere loses nobody else's rows, never breaks the books, and goes on when typed again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mofang.core.database import SQLite
from mofang.core.shop import Shop
from mofang.data.erasure.erase import erase
from mofang.data.records import RecordReader
from tests.data.erasing import PERSON, SENTENCE, everything_readable, make, traces, write_source


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with a planted person, an unfinished run's leftovers, and its databases closed."""
    folder = tmp_path_factory.mktemp("erase")
    write_source(folder / "reviews.csv", rows=120)
    shop = Shop.open(folder / "shop")
    shop.name("reviews", make(shop, folder / "reviews.csv")["snapshot"])
    for db in (shop.ledger.db, shop.control):
        db.rows("pragma wal_checkpoint(truncate)")
        db.close()
    shop.store.keys.close()
    return shop.path


def dying(nth: int) -> list[int]:
    """From now on this process is killed at the nth commit, rename or removal, half of the time just after it."""
    seen = [0]

    def guard(plain: Any, counts: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if not counts(given):
                return plain(*given, **named)
            seen[0] += 1
            if seen[0] == nth and nth % 2:
                os.kill(os.getpid(), 9)
            made = plain(*given, **named)
            if seen[0] == nth:
                os.kill(os.getpid(), 9)
            return made
        return call

    SQLite.run = guard(SQLite.run, lambda given: given[1] == "commit")  # type: ignore[method-assign]
    os.replace = guard(os.replace, lambda _: True)
    Path.unlink = guard(Path.unlink, lambda _: True)  # type: ignore[method-assign]
    return seen


def killed_at(shop: Path, nth: int) -> bool:
    """Erase in a child that dies at its nth write; False if it came to its end before."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            dying(nth)
            Shop.open(shop, make=False).act(erase, person=(PERSON,))
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the child failed at write {nth}"
    return os.WIFSIGNALED(status)


def others(shop: Shop) -> list[str]:
    found = []
    for name in ("train", "validation", "test"):
        for batch in RecordReader(shop.find("reviews") / name).batches():
            found += [row["text"] for row in batch.rows() if SENTENCE not in row["text"]]
    return sorted(found)


def kill_and_go_on(stock: Path, folder: Path, nth: int, before: list[str]) -> bool:
    place = folder / f"at-{nth}"
    shutil.copytree(stock, place)
    killed = killed_at(place, nth)
    shop = Shop.open(place, make=False)
    assert shop.verify() == [] and others(shop) == before, f"after a kill at write {nth}"
    shop.act(erase, person=(PERSON,))
    assert shop.verify() == [] and others(shop) == before
    left = everything_readable(shop)
    assert SENTENCE.encode() not in left and PERSON.encode() not in left, f"left behind after a kill at write {nth}"
    assert traces(place, SENTENCE, PERSON) == []
    shop.ledger.db.close()
    shutil.rmtree(place)
    return killed


def test_killed_at_some_writes(stock: Path, tmp_path: Path) -> None:
    shutil.copytree(stock, tmp_path / "plain")
    before = others(Shop.open(tmp_path / "plain", make=False))
    for nth in (1, 2, 5, 9, 14, 20, 27, 35, 44, 54):
        kill_and_go_on(stock, tmp_path, nth, before)


@pytest.mark.cluster
def test_killed_at_every_write(stock: Path, tmp_path: Path) -> None:
    shutil.copytree(stock, tmp_path / "plain")
    before = others(Shop.open(tmp_path / "plain", make=False))
    nth = 1
    while kill_and_go_on(stock, tmp_path, nth, before):
        nth += 1
    assert nth > 30
