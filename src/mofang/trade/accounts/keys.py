"""Keys: how a customer's program shows who it is. Shown once, stored as a keyed hash, revoked within a second.

A key is a token (``core/token.py``) that begins with ``mf_live_`` or ``mf_test_``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from mofang.core import token as tokens
from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.personal import follows
from mofang.core.rule import Rule
from mofang.core.tables import tables_of
from mofang.core.token import DAY_US, ID_LENGTH, Pepper
from mofang.trade.accounts.customers import find_customer

if TYPE_CHECKING:
    from mofang.core.shop import Shop

TOKEN = tokens.pattern("live", "test")

TABLES = (
    """create table if not exists key(id text primary key, account text not null, hash text not null,
        test integer not null, models text not null, label text not null, created_us bigint not null,
        expires_us bigint not null, revoked_us bigint not null)""",
    "create table if not exists key_may(key text primary key, scopes text not null, member text not null)",
)
SCOPES = ("predict", "usage", "invoices")  # what a key may be good for; none named: all


@dataclass(frozen=True, slots=True)
class Key:
    """What a server knows of a key. ``models`` and ``scopes`` empty mean all; times are 0 where they do not apply.

    ``member`` is who of the customer's people holds it, empty where nobody was named.
    """

    id: str
    account: str
    hash: str
    test: bool
    models: tuple[str, ...]
    label: str
    created_us: int
    expires_us: int
    revoked_us: int
    scopes: tuple[str, ...] = ()
    member: str = ""


@dataclass(frozen=True)
class IssuedKey:
    """A new key with its token, which is shown this once and stored nowhere."""

    id: str
    account: str
    token: str
    test: bool
    models: tuple[str, ...]
    expires_us: int


@fold("keys", tables=TABLES)
def fold_keys(db: Database, rows: list[Row]) -> None:
    """Keys issued, given an end, and revoked."""
    for row in rows:
        body = row.body
        if row.kind == "issue":
            db.run("insert into key values(?,?,?,?,?,?,?,?,0)",
                   (body["key"], row.account, body["hash"], int(body["test"]), json.dumps(body["models"]),
                    body["label"], row.at_us, body["expires_us"]))
            if body.get("scopes") or body.get("member"):
                db.run("insert into key_may values(?,?,?)",
                       (body["key"], json.dumps(body.get("scopes", [])), body.get("member", "")))
        elif row.kind == "expire":
            db.run("update key set expires_us=? where id=?", (body["expires_us"], body["key"]))
        elif row.kind == "revoke":
            db.run("update key set revoked_us=? where id=? and revoked_us=0", (row.at_us, body["key"]))


COLUMNS = "id, account, hash, test, models, label, created_us, expires_us, revoked_us, scopes, member"


def keys(db: Database, account: str = "") -> list[Key]:
    """All keys, or one customer's, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    found = db.rows(f"select {COLUMNS} from key left join key_may on key_may.key=id{condition} order by created_us, id", params)
    return [Key(id, of, hash, bool(test), tuple(json.loads(models)), label, made_us, expires_us, revoked_us,
                tuple(json.loads(scopes or "[]")), member or "")
            for id, of, hash, test, models, label, made_us, expires_us, revoked_us, scopes, member in found]


def new_token(test: bool) -> tuple[str, str]:
    """A fresh (id, token)."""
    return tokens.new_token("test" if test else "live")


def token_id(token: str) -> str:
    """The id inside a token, or a refusal that says whether the token is mistyped or no key at all."""
    id = tokens.id_in(token, TOKEN)
    if id is None:
        raise MofangError("key-mistyped")
    return id


def check_key(known: dict[str, Key], pepper: Pepper, token: str, at_us: int) -> Key:
    """The key that a token belongs to, if it is good now; otherwise why not, told only to who holds the secret."""
    key = known.get(token[8 : 8 + ID_LENGTH])
    same = pepper.same(token, key.hash if key else "")
    if key is None or not same:
        token_id(token)  # a mistyped key gets the more helpful refusal
        raise MofangError("key-unknown")
    if key.revoked_us:
        raise MofangError("key-revoked", key=key.id)
    if key.expires_us and key.expires_us <= at_us:
        raise MofangError("key-expired", key=key.id)
    return key


Label = Annotated[str, Rule(max_length=100)]
Days = Annotated[float, Rule(ge=0, le=3660, finite=True)]


@action(may="money")
def key_new(act: Act, *, customer: str, test: bool = False, models: tuple[str, ...] = (), days: Days = 0,
            label: Label = "", scopes: tuple[str, ...] = (), member: str = "") -> IssuedKey:
    """Give a customer a key; it is shown this once.

    ``test`` keys are metered, free and never invoiced. ``models`` limits the key to those models, ``days`` ends it
    by itself. ``scopes`` says what it is good for: ``predict``, ``usage``, ``invoices`` (none named: all). A key of a
    ``member`` of the customer is good for what the member's role allows, and ends when the member goes.
    """
    with turn(act, "keys") as db:
        found = find_customer(db, customer)
        if found.test and not test:
            raise MofangError("key-live-refused", customer=found.name)
        for scope in scopes:
            if scope not in SCOPES:
                raise MofangError("scope-unknown", scope=scope, known=", ".join(SCOPES))
        if member:
            from mofang.trade.accounts.members import allowed_scopes

            scopes = allowed_scopes(db, found, member, scopes)
        expires_us = now_us() + int(days * DAY_US) if days else 0
        return _issue(act, found.id, test, tuple(sorted(set(models))), label, expires_us, tuple(sorted(set(scopes))), member)


@action(may="money")
def key_revoke(act: Act, *, key: str) -> Key:
    """End a key now. Running servers refuse it within a second; revoking twice changes nothing."""
    with turn(act, "keys") as db:
        found = find_key(db, key)
        if not found.revoked_us:
            act.record("keys", NewRow("revoke", {"key": found.id}, account=found.account))
    return find_key(db, found.id)


@action(may="money")
def key_rotate(act: Act, *, key: str, overlap_days: Days = 7) -> IssuedKey:
    """Give a new key with the same rights; the old one goes on working for the overlap, so that nothing stops."""
    with turn(act, "keys") as db:
        old = find_key(db, key)
        if old.revoked_us:
            raise MofangError("key-revoked", key=old.id)
        ends_us = now_us() + int(overlap_days * DAY_US)
        if not old.expires_us or old.expires_us > ends_us:
            act.record("keys", NewRow("expire", {"key": old.id, "expires_us": ends_us}, account=old.account))
        return _issue(act, old.account, old.test, old.models, old.label, 0, old.scopes, old.member)


def find_key(db: Database, key: str) -> Key:
    """A key by its id, the unique beginning of the id, or a whole token (of which only the id is looked at)."""
    id = token_id(key) if key.startswith("mf_") else key
    found = [one for one in keys(db) if one.id == id or (len(id) >= 4 and one.id.startswith(id))]
    if len(found) != 1:
        raise MofangError("key-not-found", key=id)
    return found[0]


def _issue(act: Act, account: str, test: bool, models: tuple[str, ...], label: str, expires_us: int,
           scopes: tuple[str, ...], member: str) -> IssuedKey:
    id, token = new_token(test)
    body = {"key": id, "hash": Pepper(act.shop.secret("keys")).hash(token), "test": test, "models": list(models),
            "label": label, "expires_us": expires_us, **({"scopes": list(scopes)} if scopes else {}),
            **({"member": member} if member else {})}
    act.record("keys", NewRow("issue", body, account=account))
    return IssuedKey(id, account, token, test, models, expires_us)


@follows("customers")
def asking(shop: Shop, entries: set[str]) -> list[str]:
    """Names of the customers with a key that is good for a package among these entries."""
    models = {one.name for one in shop.names("package") if one.entry in entries}
    if not models or "key" not in tables_of(shop.control):
        return []
    now = now_us()
    who = {key.account for key in keys(shop.control) if not key.revoked_us and (not key.expires_us or key.expires_us > now)
           and (not key.models or any(name.partition("@")[0] in models for name in key.models))}
    return sorted(row[0] for row in shop.control.rows("select name, account from account") if row[1] in who)
