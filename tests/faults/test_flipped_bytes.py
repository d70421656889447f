"""One byte changed in journals, ledger, bills and seals: ``mofang verify`` names it, and nothing ends in a traceback.

A thousand places of each in ``bench/faults.py bytes``; of a lease's file and its records in ``tests/stories/test_lease.py``.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from tests.faults.flipping import KINDS, flips, sold
from tests.stories.terminal import Inside


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = sold(tmp_path_factory.mktemp("sold") / "shop")
    shop.control.close()
    shop.ledger.db.close()
    return shop.path


@pytest.fixture
def shop(first: Path, tmp_path: Path) -> Path:
    """A copy of one shop that has sold."""
    return Path(shutil.copytree(first, tmp_path / "shop"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_byte_is_seen(kind: str, shop: Path, tmp_path: Path) -> None:
    told = flips(tmp_path, kind, count=20, seed=3)
    assert told.missed == [] and sum(told.by.values()) == 20


def changed(shop: Path, sql: str) -> None:
    with sqlite3.connect(shop / "meter.db") as db:
        assert db.execute(sql).rowcount > 0
    db.close()


@pytest.mark.parametrize(("sql", "named"), [
    ("update seal set up_to=replace(up_to, ':', ': ') where journal='usage' and number=1", "reaches other rows than it holds"),
    ("update seal set root=replace(root, 'a', 'b') where journal='usage'", "is not what the ledger says"),
    ("update journal set body=cast(body as blob) where journal='prices'", "does not fit its chain"),
    ("update journal set body='{' where journal='customers' and kind='agreed'", "does not fit its chain"),
    ("update journal set position=position+100000 where journal='usage' and seq=3", "does not fit its chain"),
    ("delete from usage_day", "table usage_day differs"),
])
def test_what_was_changed_is_named(sql: str, named: str, shop: Path, tmp_path: Path) -> None:
    changed(shop, sql)
    assert named in Inside(tmp_path).type("verify", status=3).out


def test_rows_that_vanish_from_a_journals_end_are_missed_by_their_seal(shop: Path, tmp_path: Path) -> None:
    """The chain of what is left fits, and the tables are made to fit: only the seal knows that there was more."""
    changed(shop, "delete from journal where position=(select max(position) from journal where journal='prices')")
    changed(shop, "delete from price where version=(select max(version) from price) and model='digits'")
    assert "no longer holds the rows of seal 1" in Inside(tmp_path).type("verify", status=3).out


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("at", [0, 100])
def test_a_database_that_is_none_any_more(at: int, language: str, shop: Path, tmp_path: Path) -> None:
    """In words, with a code, in both languages; never a traceback."""
    with (shop / "meter.db").open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 40)
    for words in (("verify",), ("customer", "list"), ("invoice",)):
        done = Inside(tmp_path, language).type(*words, status=None)
        assert (done.status, done.code) == (1, "database-damaged"), done
    assert all(MofangError("database-damaged", place="p", detail="d").worded(language))  # type: ignore[arg-type]
