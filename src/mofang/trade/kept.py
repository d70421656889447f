"""Texts of requests, kept only where a customer's plan says so: encrypted, for so many days, and found when a person is erased.

They lie in a table of their own beside the journals, because a journal is never taken out of: a row goes with its day, or
with the person it names. Each customer's rows are under a key of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mofang.core.database import Database, delete_for_good
from mofang.core.errors import MofangError
from mofang.core.holders import spellings
from mofang.core.identity import now_us
from mofang.core.personal import Sought, forgets
from mofang.core.shop import Shop
from mofang.core.subjects import mark_of
from mofang.core.tables import tables_of

DAY_US = 86_400_000_000
NONCE_BYTES = 12
TABLE = """create table if not exists kept_text(request_id text primary key, account text not null, at_us bigint not null,
    until_us bigint not null, body {blob} not null)"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One request as it is written: sealed."""

    request_id: str
    account: str
    at_us: int
    until_us: int
    body: bytes


class Cabinet:
    """Seals and opens the kept requests of one shop; a customer's key is read once a process."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._keys: dict[str, tuple[bytes, Any]] = {}

    def seal(self, request_id: str, account: str, days: int, content: bytes) -> Kept:
        """A request and its answer under the customer's key, until ``days`` from now."""
        mark, cipher = self._of(account, make=True)
        nonce, at_us = os.urandom(NONCE_BYTES), now_us()
        sealed = cipher.encrypt(nonce, content, mark + request_id.encode())
        return Kept(request_id, account, at_us, at_us + days * DAY_US, nonce + sealed)

    def open(self, found: Kept) -> dict[str, Any] | None:
        """What was kept; None once the customer's key is gone. Raises ``sealed-changed``."""
        from cryptography.exceptions import InvalidTag

        mark, cipher = self._of(found.account, make=False)
        if cipher is None:
            return None
        try:
            plain = cipher.decrypt(found.body[:NONCE_BYTES], found.body[NONCE_BYTES:], mark + found.request_id.encode())
        except InvalidTag:
            raise MofangError("sealed-changed") from None
        read: dict[str, Any] = json.loads(plain)
        return read

    def _of(self, account: str, *, make: bool) -> tuple[bytes, Any]:
        if account not in self._keys:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            mark = mark_of(self.shop, f"kept texts of {account}")
            key = self.shop.store.keys.of_subjects([mark], make=make).get(mark)
            self._keys[account] = (mark.encode(), AESGCM(key) if key else None)
        return self._keys[account]


def make_kept_table(db: Database) -> None:
    """Make the table where it is missing."""
    db.run(TABLE.format(blob="bytea" if db.dialect == "postgresql" else "blob"))
    db.run("create index if not exists kept_text_until on kept_text(until_us)")


def keep_texts(db: Database, kept: Iterable[Kept]) -> None:
    """Write sealed requests, in the transaction that charges them."""
    rows = [(one.request_id, one.account, one.at_us, one.until_us, one.body) for one in kept]
    if rows:
        db.many("insert into kept_text values(?,?,?,?,?)", rows)


def kept_of(shop: Shop, request_id: str) -> dict[str, Any] | None:
    """What was asked and answered in a request, if that is kept still."""
    if "kept_text" not in tables_of(shop.control):
        return None
    sql = "select request_id, account, at_us, until_us, body from kept_text where request_id=? and until_us>?"
    found = shop.control.rows(sql, (request_id, now_us()))
    return Cabinet(shop).open(_kept(found[0])) if found else None


def _kept(row: tuple[Any, ...]) -> Kept:
    request_id, account, at_us, until_us, body = row
    return Kept(request_id, account, at_us, until_us, bytes(body))


def forget_due(db: Database, now_us: int, most: int = 1000) -> int:
    """Delete what was to be kept until now, some at a time; how many went."""
    return db.run("""delete from kept_text where request_id in
        (select request_id from kept_text where until_us<=? order by until_us limit ?)""", (now_us, most))


@forgets("kept texts")
def forget_person(shop: Shop, sought: Sought) -> dict[str, int]:
    """Kept requests that name an erased person, in what was asked or answered."""
    db, wanted = shop.control, spellings(sought.values)
    if not wanted or "kept_text" not in tables_of(db):
        return {}
    cabinet, found = Cabinet(shop), []
    for page in db.pages("select request_id, account, at_us, until_us, body from kept_text"):
        for row in page:
            content = cabinet.open(_kept(row))
            told = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
            if content is None or any(one in told for one in wanted):
                found.append(row[0])
    if found and not sought.dry:
        delete_for_good(db, "delete from kept_text where request_id=?", [(id,) for id in found])
    return {"kept requests": len(found)}
