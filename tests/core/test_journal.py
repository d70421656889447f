"""Journals, folded tables and seals, in every database."""

from __future__ import annotations

import json
import threading

import pyarrow.parquet as pq
import pytest

from mofang.core.database import Database
from mofang.core.journal import FOLDS, Journals, NewRow, Row, fold
from mofang.core.merkle import root
from mofang.core.shop import Shop


@pytest.fixture(autouse=True)
def tally() -> object:
    """A fold for these tests: units by account."""

    @fold("tally", tables=("create table if not exists tally(account text primary key, units bigint not null)",))
    def add(db: Database, rows: list[Row]) -> None:
        for row in rows:
            db.run("insert into tally(account, units) values(?,?) on conflict(account) do update "
                   "set units = tally.units + excluded.units", (row.account, row.body["units"]))

    yield
    del FOLDS["tally"]


def used(account: str, units: int) -> NewRow:
    return NewRow("used", {"units": units, "备注": "测试"}, account=account)


def test_rows_are_chained_per_writer_and_folded_in_the_same_transaction(any_shop: Shop) -> None:
    journals = any_shop.journals
    with any_shop.control.transaction():
        journals.append("tally", [used("a", 1), used("b", 2)])
    journals.record("tally", [used("a", 3)])
    assert any_shop.control.rows("select account, units from tally order by account") == [("a", 4), ("b", 2)]
    assert [(row.writer == journals.writer, row.seq) for row in journals.rows("tally")] == [(True, 1), (True, 2), (False, 1)]
    assert [row.body["units"] for row in journals.rows("tally", account="a")] == [1, 3]
    assert any_shop.verify() == []


def test_a_rolled_back_append_leaves_no_trace_and_no_gap(any_shop: Shop) -> None:
    journals = any_shop.journals
    with pytest.raises(ZeroDivisionError), any_shop.control.transaction():
        journals.append("tally", [used("a", 1)])
        _ = 1 / 0
    journals.forget_heads()
    with any_shop.control.transaction():
        journals.append("tally", [used("a", 5)])
    assert any_shop.control.rows("select units from tally") == [(5,)]
    assert any_shop.verify() == []


@pytest.mark.parametrize("tamper", [
    "update journal set body=replace(body, '7', '9') where seq=2",
    "update journal set account='z' where seq=2",
    "update journal set at_us=at_us+1 where seq=2",
    "delete from journal where seq=2",
    "update tally set units=units+1 where account='a'",
    "delete from tally",
])
def test_tampering_is_found(any_shop: Shop, tamper: str) -> None:
    with any_shop.control.transaction():
        any_shop.journals.append("tally", [used("a", units) for units in (3, 7, 5)])
    assert any_shop.verify() == []
    any_shop.control.run(tamper)
    assert any_shop.verify()


def test_seals_hold_every_row_once_and_later_rows_go_into_the_next(any_shop: Shop) -> None:
    journals, elsewhere = any_shop.journals, any_shop.again()
    with any_shop.control.transaction():
        journals.append("tally", [used("a", 1), used("a", 2)])
    first = any_shop.seal("tally")
    elsewhere.journals.record("tally", [used("b", 4)])
    with any_shop.control.transaction():
        journals.append("tally", [used("a", 8)])
    second = any_shop.seal("tally")
    assert any_shop.seal("tally") is None
    assert first and second
    sealed = [pq.read_table(one.path("rows.parquet")).to_pylist() for one in (first, second)]
    assert [[json.loads(row["body"])["units"] for row in rows] for rows in sealed] in ([[1, 2], [4, 8]], [[1, 2], [8, 4]])
    about = second.read_json("seal.json")
    assert about["number"] == 2 and about["rows"] == 2
    assert about["root"] == root(bytes.fromhex(row["chain"]) for row in sealed[1]).hex()
    assert [one.entry for one in any_shop.seals("tally")] == [first.entry, second.entry]
    assert any_shop.verify() == []


def test_a_seal_cut_off_before_its_ledger_entry_is_repaired_at_the_next_start(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    any_shop.journals.record("tally", [used("a", 1)])
    monkeypatch.setattr(Shop, "repair_seals", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        any_shop.seal("tally")
    monkeypatch.undo()
    assert any_shop.seals("tally") == []
    again = any_shop.again()
    assert len(again.seals("tally")) == 1
    assert again.repair_seals() == 0 and again.seal("tally") is None
    assert again.verify() == []


def test_several_sealers_make_one_seal(any_shop: Shop) -> None:
    any_shop.journals.record("tally", [used("a", 1)])
    threads = [threading.Thread(target=lambda: any_shop.again().seal("tally")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(any_shop.again().seals("tally")) == 1
    assert any_shop.verify() == []


@pytest.mark.cluster
def test_a_row_of_an_open_transaction_waits_for_the_next_seal(tmp_path, postgres_url: str) -> None:
    """In PostgreSQL a position is given before commit: a later row may be visible while an earlier one is not."""
    shop = Shop.open(tmp_path / "shop", database=postgres_url)
    slow = shop.again()
    opened = slow.control.transaction()
    opened.__enter__()
    slow.journals.append("tally", [used("a", 1)])
    with shop.control.transaction():
        shop.journals.append("tally", [used("b", 2)])
    assert shop.seal("tally") is None, "nothing is sealed past an open transaction"
    opened.__exit__(None, None, None)
    sealed = shop.seal("tally")
    assert sealed and sealed.read_json("seal.json")["rows"] == 2
    assert shop.verify() == []


def test_shared_writer_by_many_processes_keeps_one_chain(any_shop: Shop) -> None:
    def write() -> None:
        shop = any_shop.again()
        for _ in range(10):
            shop.journals.record("tally", [used("a", 1)])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert any_shop.control.rows("select units from tally") == [(40,)]
    assert any_shop.verify() == []


def test_journals_of_one_database_know_only_their_rows(shop: Shop) -> None:
    shop.journals.record("tally", [used("a", 1)])
    shop.journals.record("notes", [NewRow("said", {"text": "hello"})])
    assert Journals(shop.control).names() == ["notes", "tally"]
    assert len(shop.journals.rows("notes")) == 1
    assert shop.journals.position("tally") < shop.journals.position("notes")
