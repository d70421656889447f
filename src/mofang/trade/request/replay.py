"""Stored answers: a retry with the same Idempotency-Key gets the first answer again and pays nothing.

The row is written in the transaction that charges, so that an answer is charged if and only if it can be replayed.
Keys belong to the account that sent them and are kept for 24 hours. This table holds what customers were told; it is
no folded table, because the journals hold no content.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from mofang.core.database import Database, delete_for_good, insert_rows
from mofang.core.errors import MofangError
from mofang.core.holders import spellings
from mofang.core.personal import Sought, forgets
from mofang.core.shop import Shop
from mofang.core.tables import tables_of
from mofang.trade.billing.balance import rows_in

KEPT_US = 24 * 3600 * 1_000_000
KEY_LENGTH_MAX = 200

TABLE = """create table if not exists replay(name text primary key, digest text not null, request_id text not null,
    status integer not null, body {blob} not null, at_us bigint not null)"""
FROM_JSON = """select name, digest, request_id, status, decode(body, 'base64'), at_us from json_to_recordset(?::json) as given(
    name text, digest text, request_id text, status integer, body text, at_us bigint)"""
AGAIN = """ on conflict(name) do update set digest=excluded.digest, request_id=excluded.request_id, status=excluded.status,
    body=excluded.body, at_us=excluded.at_us where replay.at_us<?"""


@dataclass(slots=True)
class Stored:
    """An answer as it was sent, with the digest of the request that it answered."""

    digest: str
    request_id: str
    status: int
    body: bytes
    replayed: bool = True


def make_table(db: Database) -> None:
    """Make the table where it is missing."""
    db.run(TABLE.format(blob="bytea" if db.dialect == "postgresql" else "blob"))
    db.run("create index if not exists replay_at on replay(at_us)")


def request_digest(model: str, body: bytes) -> str:
    """What must be equal for a repeated request to count as the same one."""
    return hashlib.blake2b(model.encode() + b"\0" + body, digest_size=16).hexdigest()


def check_retry_key(text: str) -> str:
    """An Idempotency-Key of 1 to 200 printable ASCII characters."""
    if not 0 < len(text) <= KEY_LENGTH_MAX or not text.isascii() or not text.isprintable():
        raise MofangError("retry-key-invalid", longest=KEY_LENGTH_MAX)
    return text


def replay_name(account: str, retry_key: str) -> str:
    """The account and its key in one word; an account's id holds no stroke, so no two pairs share a name."""
    return f"{account}/{retry_key}"


def stored_answers(db: Database, names: Iterable[str], now_us: int) -> dict[str, Stored]:
    """The answers kept under these names and not older than 24 hours."""
    sql = "select name, digest, request_id, status, body, at_us from replay where name in ({marks})"
    return {row[0]: Stored(row[1], row[2], row[3], bytes(row[4]))
            for row in rows_in(db, sql, sorted(names)) if row[5] >= now_us - KEPT_US}


def store_answers(db: Database, answers: Iterable[tuple[str, Stored]], now_us: int) -> int:
    """Keep answers under names that have none yet, or an outdated one; how many were kept. All names must differ.

    One statement looks and writes: whoever comes second with a name finds it taken, whatever was looked up before.
    """
    rows = [(name, one.digest, one.request_id, one.status, one.body, now_us) for name, one in answers]
    before = (now_us - KEPT_US,)
    if db.dialect == "postgresql":  # one value for all: each parameter would take its time
        told = [{"name": name, "digest": digest, "request_id": request, "status": status, "body": base64.b64encode(body).decode(),
                 "at_us": at_us} for name, digest, request, status, body, at_us in rows]
        return db.run(f"insert into replay {FROM_JSON} {AGAIN}", (orjson.dumps(told).decode(), *before))
    return insert_rows(db, "insert into replay", rows, AGAIN, before)


def forget_answers(db: Database, names: Sequence[str]) -> None:
    """Take out answers that were stored in this very transaction and are not given after all."""
    if names:
        db.many("delete from replay where name=?", [(name,) for name in names])


def same_request(found: Stored, digest: str) -> Stored:
    """The stored answer, or the refusal of a key that was used for another request."""
    if found.digest != digest:
        raise MofangError("retry-key-reused", request=found.request_id)
    return found


def forget_old(db: Database, now_us: int, most: int = 1000) -> int:
    """Delete answers older than 24 hours, some at a time; how many went."""
    return db.run("delete from replay where name in (select name from replay where at_us<? order by at_us limit ?)",
                  (now_us - KEPT_US, most))


@forgets("replay")
def forget_person(shop: Shop, sought: Sought) -> dict[str, int]:
    """Stored answers that name an erased person; a retry of such a request is then answered anew."""
    db, wanted = shop.control, spellings(sought.values)
    if not wanted or "replay" not in tables_of(db):
        return {}
    found = [row[0] for page in db.pages("select name, body from replay") for row in page
             if any(one in bytes(row[1]) for one in wanted)]
    if found and not sought.dry:
        delete_for_good(db, "delete from replay where name=?", [(name,) for name in found])
    return {"stored answers": len(found)}
