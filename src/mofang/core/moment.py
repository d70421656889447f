"""Both databases as of one moment, while servers and runs go on writing.

A backup of the ledger from now and of the meter from a second later would hold invoices without their usage. So both
write locks are held together, only for the instant in which a reading transaction is opened on each database; what is
read afterwards stays as it was then. No lock is ever held while waiting for the other.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mofang.core.database import Database, SQLite, open_database
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

PATIENCE_S = 30.0
TRY_AGAIN_S = 0.0005


@dataclass(frozen=True)
class Moment:
    """Two connections that see one moment, to be read from only. ``held_ms`` is how long writers had to wait for it."""

    ledger: Database
    control: Database
    held_ms: float


@contextmanager
def moment(shop: Shop) -> Iterator[Moment]:
    """The shop's databases as they are now, for as long as the block lasts."""
    address = shop.settings.get("database")
    if address:
        shared = open_database(address)
        try:
            shared.run("begin isolation level repeatable read read only")
            yield Moment(shared, shared, 0.0)
        finally:
            shared.close()
        return
    places = shop.path / "ledger.db", shop.path / "meter.db"
    readers = [SQLite(place) for place in places]
    lockers = [SQLite(place) for place in places]
    try:
        held_ms = _open_together(readers, lockers)
        yield Moment(readers[0], readers[1], held_ms)
    finally:
        for one in (*lockers, *readers):
            one.close()


def _open_together(readers: list[SQLite], lockers: list[SQLite]) -> float:
    """Begin to read on each reader at one moment; how long both databases were locked, in milliseconds."""
    ledger, control = lockers
    for one in lockers:
        one.run("pragma busy_timeout=0")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if not _locked(control):  # the busier one first, so that the other is never kept for its sake
            time.sleep(TRY_AGAIN_S)
            continue
        began = time.perf_counter()
        if _locked(ledger):
            for reader in readers:
                reader.run("begin")
                reader.rows("select count(*) from sqlite_master")  # the first look fixes what the transaction sees
            ledger.rollback()
            control.rollback()
            return (time.perf_counter() - began) * 1000
        control.rollback()
        time.sleep(TRY_AGAIN_S)
    raise MofangError("shop-busy", seconds=int(PATIENCE_S))


def _locked(database: SQLite) -> bool:
    """Take the write lock if it is free."""
    try:
        database.run(database.begin)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise
    return True
