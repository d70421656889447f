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
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import apsw

from mofang.core.database import is_damage
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe
from mofang.trade.billing.credits import credit_line
from mofang.trade.billing.issuing import find_invoice
from mofang.trade.billing.paid import pay
from mofang.trade.request.replay import Stored, make_table, store_answers
from tests.trade.bookkeeping import CLOCKED, DAY_US, NAME, NOVEMBER, OCTOBER, Clock, Desk

DATABASES = ("ledger.db", "meter.db")
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
    for name in DATABASES:
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


LEFT_OUT = {"sqlite_schema", "replay", "sqlite_autoindex_replay_1", "replay_at"}  # no rows of the books; docs/verify says so


def used(file: Path) -> list[range]:
    """The stretches of a file that may hold something: of a database the pages of the books, without the gap between the cells'
    places and the cells (https://www.sqlite.org/fileformat2.html#b_tree_pages)."""
    data = file.read_bytes()
    if file.suffix != ".db":
        return [range(len(data))]
    with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        pages = [(at - 1) * size for name, at, size in db.execute("select name, pageno, pgsize + 0 from dbstat") if name not in LEFT_OUT]
    size, found = int.from_bytes(data[16:18], "big"), []
    for begin in pages:
        inner = {2: 12, 5: 12, 10: 8, 13: 8}.get(data[begin], 0)
        if inner:
            cells, at = int.from_bytes(data[begin + 3:begin + 5], "big"), int.from_bytes(data[begin + 5:begin + 7], "big") or 65_536
            found += [range(begin, begin + inner + 2 * cells), range(begin + at, begin + size)] if cells else []
        else:
            found.append(range(begin, begin + size))  # the rest of what did not fit into one page
    return found


def places(found: list[Path], chance: random.Random) -> Iterator[Place]:
    """Without end, every byte that may hold something being as likely as any other."""
    where = [(one, stretch) for one in found for stretch in used(one)]
    for one in found:
        os.chmod(one, 0o600)
    while True:
        one, stretch = chance.choices(where, [len(stretch) for _, stretch in where])[0]
        yield Place(one, chance.choice(stretch), chance.randrange(1, 256))


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
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        assert is_damage(error), error  # what the command line says as database-damaged
        return "refused: database-damaged"


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


@dataclass
class Flipped:
    """How many places that hold something were changed, how each was seen, and those that were not."""

    holding: int = 0
    nothing: int = 0
    by: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def flips(folder: Path, kind: str, count: int, seed: int) -> Flipped:
    """Change one byte at so many places that hold something, one at a time, of the shop in this folder (made where there is none)."""
    chance, told = random.Random(f"{kind} {seed}"), Flipped()
    shop = Shop.open(folder / "shop") if (folder / "shop").exists() else sold(folder / "shop")
    found = files(shop, kind)
    shop.ledger.db.close()
    shop.control.close()
    kept = folder / "kept"
    kept.mkdir()
    for name in DATABASES:
        shutil.copyfile(shop.path / name, kept / name)
    for place in places(found, chance):
        if told.holding == count:
            break
        place.flip()
        how = seen(shop.path)
        table = "" if how else holds(place, kept)
        told.holding += bool(how or table)
        told.nothing += not (how or table)
        told.by[how] += bool(how)
        told.missed += [f"{place.file.name} {place.offset} ({place.change}): {table}"] if table else []
        if place.file.suffix == ".db":
            tidy(shop.path, kept)
        else:
            place.flip()
    assert seen(shop.path) == "", "whole again"
    return told


def tidy(path: Path, before: Path) -> None:
    """The databases as they were; reading one may have written to it."""
    for name in DATABASES:
        for ending in ("-wal", "-shm"):
            (path / (name + ending)).unlink(missing_ok=True)
        shutil.copyfile(before / name, path / name)
