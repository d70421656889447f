"""One byte changed anywhere in a shop that has sold: whether ``mofang verify`` sees it.

The shop has used models, bills, payments, a credit and charges. A place is a file and an offset; what is found there is changed
by any other value. Four kinds are counted: the journals (``meter.db``), the ledger (``ledger.db``), the bill's own files
(document, PDF) and the sealed use and terms that it is made from.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe
from mofang.trade.billing.credits import credit_line
from mofang.trade.billing.issuing import find_invoice
from mofang.trade.billing.paid import pay
from mofang.trade.request.replay import Stored, make_table, store_answers
from tests.trade.bookkeeping import CLOCKED, DAY_US, NAME, NOVEMBER, OCTOBER, Clock, Desk

KINDS = ("journal", "ledger", "invoice", "seals")


def sold(path: Path) -> Shop:
    """A shop that has sold for two months; nothing of it is in a write-ahead log any more."""
    clock = Clock(OCTOBER + DAY_US)
    patches = [mock.patch(f"mofang.{module}.now_us", clock) for module in CLOCKED]
    patches.append(mock.patch("mofang.trade.billing.issuing.behind_us", lambda *_: 0))
    for one in patches:
        one.start()
    try:
        shop = Shop.open(path)
        desk = Desk(shop, clock)
        shop.act(customer_agree, customer=NAME, tax="6%", discount="10%")
        shop.act(customer_subscribe, customer=NAME, model="digits", monthly="29", included=10)
        shop.act(pay, customer=NAME, amount="50", reference="bank 1", until="2027-10-31")
        desk.use(*range(1, 40), at_us=OCTOBER + 2 * DAY_US)
        first = desk.bill("2026-10", early=True)
        shop.act(credit_line, invoice=first.number, line=1, units=3, why="too many")
        desk.use(*range(1, 40), model="digits@1", at_us=NOVEMBER + DAY_US)
        desk.bill("2026-11", early=True, language="en")
        make_table(shop.control)
        store_answers(shop.control, [("k", Stored("d", "req_1", 200, b"an answer" * 40))], clock())
    finally:
        for one in patches:
            one.stop()
    assert shop.verify() == []
    shop.ledger.db.close()
    shop.control.close()
    for name in ("ledger.db", "meter.db"):
        one = sqlite3.connect(path / name)
        one.execute("pragma wal_checkpoint(truncate)")
        one.close()
    return Shop.open(path)


def files(shop: Shop, kind: str) -> list[Path]:
    """The files of a kind."""
    if kind in ("journal", "ledger"):
        return [shop.path / ("meter.db" if kind == "journal" else "ledger.db")]
    found = []
    for number in ("INV-2026-10-0001", "INV-2026-11-0002"):
        stored = shop.artifact(shop.ledger.get(find_invoice(shop.control, number).entry))
        found += [Path(stored.path(name)) for name in ("invoice.json", "invoice.pdf")] if kind == "invoice" else []
    if kind == "seals":
        for journal in ("usage", "customers", "prices"):
            found += [Path(one.path("rows.parquet")) for one in shop.seals(journal)]
    return found


@dataclass(frozen=True)
class Place:
    """Where a byte is changed, and to what."""

    file: Path
    offset: int
    change: int

    def flip(self) -> None:
        """Change it; once more brings it back."""
        with self.file.open("r+b") as file:
            file.seek(self.offset)
            byte = file.read(1)[0]
            file.seek(self.offset)
            file.write(bytes([byte ^ self.change]))


def places(found: list[Path], count: int, chance: random.Random) -> Iterator[Place]:
    """So many, every byte of all files being as likely as any other."""
    sizes = [one.stat().st_size for one in found]
    for one in chance.choices(found, sizes, k=count):
        os.chmod(one, 0o600)
        yield Place(one, chance.randrange(one.stat().st_size), chance.randrange(1, 256))


def seen(path: Path) -> str:
    """How a shop's damage is seen: ``told`` by name, ``refused`` by a code; empty where it is not."""
    try:
        shop = Shop.open(path, make=False)
        try:
            return "told" if shop.verify() else ""
        finally:
            shop.ledger.db.close()
            shop.control.close()
    except MofangError as error:
        return f"refused: {error.code}"


def content(path: Path) -> dict[str, object]:
    """What a database's file holds, as SQLite reads it: rows of all tables, and what it says of its own structure."""
    db = sqlite3.connect(path)
    db.text_factory = bytes
    try:
        found: dict[str, object] = {"structure": db.execute("pragma integrity_check").fetchall(),
                                    "objects": db.execute("select type, name, tbl_name, rootpage from sqlite_master").fetchall()}
        for (table,) in db.execute("select name from sqlite_master where type='table'").fetchall():
            name = table.decode()
            found[name] = db.execute(f"select * from {name}").fetchall()
            found[f"schema of {name}"] = [db.execute(f"pragma {one}({name})").fetchall() for one in ("table_info", "index_list")]
        return found
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return {}
    finally:
        db.close()


def holds(place: Place, before: Path) -> str:
    """The first table that a changed byte changes; empty where it holds nothing that anybody reads: free space, counters."""
    if place.file.suffix != ".db":
        return "file"
    was, now = content(before / place.file.name), content(place.file)
    return next((name for name in was if name not in now or was[name] != now[name]), "")


def tidy(path: Path, before: Path) -> None:
    """The databases as they were; reading one may have written to it."""
    for name in ("ledger.db", "meter.db"):
        for ending in ("-wal", "-shm"):
            (path / (name + ending)).unlink(missing_ok=True)
        shutil.copyfile(before / name, path / name)
