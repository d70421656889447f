"""The ledger's chain: what is appended stays, and any change is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mofang.core.ledger import content_digest
from mofang.core.shop import Shop

WRITER = """
import sys
from mofang.core.shop import Shop
shop = Shop.open(sys.argv[1])
for n in range(25):
    shop.ledger.append("decision", f"note:{n}", shop.actor, {"decision": "note", "n": n})
"""


@pytest.mark.parametrize("tamper", [
    "update entry set body=replace(body, '\"n\":3', '\"n\":4') where seq=4",
    "update entry set owner='eve' where seq=4",
    "update entry set at_us=at_us-1 where seq=2",
    "update entry set id='run_other' where seq=2",
    "update entry set chain='00' where seq=5",
    "delete from entry where seq=3",
    "delete from entry where seq=10",
    "update entry set seq=99 where seq=10",
    "insert into edge(child, parent) values('a', 'b')",
    "insert into name(owner, name, version, kind, entry) values('shop', 'x', 1, 'model', 'run_1')",
])
def test_any_change_is_seen(any_shop: Shop, tamper: str) -> None:
    for n in range(10):
        any_shop.ledger.append("decision", f"note:{n}", any_shop.actor, {"decision": "note", "n": n})
    assert any_shop.verify() == []
    any_shop.ledger.db.run(tamper)
    assert any_shop.verify()


def test_an_id_that_exists_is_not_written_twice(any_shop: Shop) -> None:
    first = any_shop.ledger.append("decision", "k", any_shop.actor, {"n": 1}, id="dec_1")
    assert any_shop.ledger.append("decision", "k", any_shop.actor, {"n": 2}, id="dec_1") == first
    assert any_shop.ledger.head()[0] == 1


def test_several_processes_share_one_head(tmp_path: Path) -> None:
    Shop.open(tmp_path)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    shop = Shop.open(tmp_path)
    assert shop.ledger.head()[0] == 75 and shop.verify() == []


def test_the_entry_format_is_the_released_one() -> None:
    """A change here is a new entry format: give it a number, a migration and a store of the old version."""
    assert content_digest("run_1", "done", "key", "shop", 1, '{"who":"li"}') == (
        "532e797a3bb595451541c5d6f4be4c67e1918130b215b429f807cf0a6843d52d"
    )


def test_prefixes_find_entries(shop: Shop) -> None:
    entry = shop.ledger.append("decision", "k", shop.actor, {})
    assert [one.id for one in shop.ledger.by_prefix(entry.id[:20])] == [entry.id]
    assert shop.ledger.by_prefix("zzz") == [] and shop.ledger.by_prefix("") == []
