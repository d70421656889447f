"""Everything of a shop that can be held against something else: chains, folded tables, seals, files.

What is damaged is told, never raised: a database whose pages were written over, a row that is no JSON any more. What follows from
damaged books is looked at as far as it can be read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from mofang.core import erased
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import Journals
from mofang.core.kept import note_kept
from mofang.core.ledger import Ledger
from mofang.core.lock import import_fold

if TYPE_CHECKING:
    from mofang.core.shop import Shop

PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR)
SAID_MOST = 5  # faults of a database's own structure that are named


def verify_shop(shop: Shop) -> list[str]:
    """Everything that does not fit, in words; empty if all is well.

    Chains and tables are read as of one moment: servers that go on meanwhile change nothing of what is compared.
    """
    from mofang.core.foreign import verify_foreign
    from mofang.core.moment import moment
    from mofang.core.seals import verify_seals

    def made() -> list[str]:
        shop.journals.make_tables()
        return []

    wrong = _look("the journals' tables", made, damaged=False)
    with moment(shop) as seen:
        wrong += check_books(seen.ledger, seen.control)
        damaged = bool(wrong)
        wrong += _look("seals", lambda: verify_seals(shop, seen.control), damaged)
    for what, look in (("what other shops told", verify_foreign), ("erasures", erased.verify_erased), ("files", _objects)):
        wrong += _look(what, lambda look=look: look(shop), damaged)  # type: ignore[misc]
    head = shop.ledger.head()[1] if not damaged else ""
    note_kept(shop.path, "verify", wrong=len(wrong), head=head)
    return wrong


def check_books(ledger: Database, control: Database) -> list[str]:
    """Every chain and every folded table of two databases that are only read; what does not fit, in words."""
    wrong = _book("ledger", ledger, lambda: Ledger(ledger, make=False).verify())
    return wrong + _book("meter", control, lambda: _journals(control))


def _journals(control: Database) -> list[str]:
    journals = Journals(control, make=False)
    for journal in journals.names():
        import_fold(journal)
    return journals.verify()


def _book(name: str, db: Database, look: Callable[[], list[str]]) -> list[str]:
    """What is wrong with one database: its own structure (indexes beside their tables, pages), then what it says."""
    wrong: list[str] = []
    try:
        if db.dialect == "sqlite":
            found = [row[0] for row in db.rows(f"pragma integrity_check({SAID_MOST})")]
            wrong += [f"{name}.db is damaged: {' '.join(one.split())}" for one in found if one != "ok"]
        wrong += look()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
            raise
        wrong.append(f"{name}.db cannot be read: {_plain(error)}")
    return wrong


def _plain(error: Exception) -> str:
    """What a database says of damage, without the content that it may quote."""
    if isinstance(error, UnicodeDecodeError):
        return "text that is no UTF-8"
    return re.sub(r" with text .*", "", str(error), flags=re.DOTALL)


def _look(what: str, look: Callable[[], list[str]], damaged: bool) -> list[str]:
    """Another part; where the books are damaged it may be that it cannot be read at all."""
    try:
        return look()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING:
            raise
        return [f"{what} cannot be read: {_plain(error)}"]
    except (MofangError, ValueError, KeyError, TypeError, AttributeError):
        if not damaged:
            raise  # nothing is known to be wrong: then it is our own mistake
        return [f"{what} cannot be checked: the books are damaged"]


def _objects(shop: Shop) -> list[str]:
    """Missing or changed files."""
    wrong: list[str] = []
    checked: dict[str, str | None] = dict.fromkeys(erased.destroyed(shop))
    replaced = erased.replaced_in(shop.ledger.db)
    for entry in shop.ledger.entries("done", "seal", "erase"):
        if entry.id in replaced:
            continue
        for part in entry.body["output"]["parts"]:
            if part[2] not in checked:
                checked[part[2]] = shop.store.check(part[2])
            if checked[part[2]]:
                wrong.append(f"{part[0]} of {entry.id} is {checked[part[2]]} ({part[2][:12]})")
    return wrong
