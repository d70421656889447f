"""Members: the people of a customer. Each has a role, which says what a key of theirs is good for; who goes takes no key along.

A member is a name that the customer chose, no account of a person: nobody logs in with it. Its journal is ``members``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.nearest import nearest
from mofang.core.rule import Rule
from mofang.trade.accounts.customers import Customer, find_customer
from mofang.trade.accounts.keys import SCOPES, keys

Role = Literal["owner", "developer", "accounts"]
ROLES: dict[str, tuple[str, ...]] = {"owner": SCOPES, "developer": ("predict", "usage"), "accounts": ("usage", "invoices")}
TABLES = (
    """create table if not exists member(account text not null, name text not null, role text not null,
        primary key(account, name))""",
)


@dataclass(frozen=True)
class Member:
    """One of a customer's people."""

    account: str
    name: str
    role: str


@dataclass(frozen=True)
class Gone:
    """A member that was removed, and the keys that ended with it."""

    name: str
    keys: tuple[str, ...]


@fold("members", tables=TABLES)
def fold_members(db: Database, rows: list[Row]) -> None:
    """Who belongs to a customer now."""
    for row in rows:
        body = row.body
        if row.kind == "member":
            db.run("insert into member values(?,?,?) on conflict(account, name) do update set role=excluded.role",
                   (row.account, body["name"], body["role"]))
        elif row.kind == "gone":
            db.run("delete from member where account=? and name=?", (row.account, body["name"]))


def members(db: Database, account: str = "") -> list[Member]:
    """All members, or one customer's, by name."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    return [Member(*row) for row in db.rows(f"select account, name, role from member{condition} order by account, name", params)]


def allowed_scopes(db: Database, customer: Customer, name: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What a member's key is good for: what was wanted, or all that the role allows.

    Raises ``member-unknown`` and ``scope-role``.
    """
    role = find_member(db, customer, name).role
    for scope in wanted:
        if scope not in ROLES[role]:
            raise MofangError("scope-role", scope=scope, member=name, role=role, allowed=", ".join(ROLES[role]))
    return wanted or ROLES[role]


def find_member(db: Database, customer: Customer, name: str) -> Member:
    """A member by name; a wrong one is answered with the nearest."""
    known = members(db, customer.id) if "member" in _tables(db) else []
    for one in known:
        if one.name == name:
            return one
    raise MofangError("member-unknown", member=name, customer=customer.name, nearest=nearest(name, [one.name for one in known]))


def _tables(db: Database) -> set[str]:
    from mofang.core.tables import tables_of

    return set(tables_of(db))


@action(may="money")
def member_add(act: Act, *, customer: str, name: Annotated[str, Rule(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")],
               role: Role = "developer") -> Member:
    """Add one of a customer's people, or change its role: ``owner`` may all, ``developer`` asks models and sees use,
    ``accounts`` sees use and invoices. Keys that were given before stay as they are."""
    with turn(act, "members") as db:
        found = find_customer(db, customer)
        act.record("members", NewRow("member", {"name": name, "role": role}, account=found.id))
    return Member(found.id, name, role)


@action(may="money")
def member_remove(act: Act, *, customer: str, name: str) -> Gone:
    """Take a member away; its keys end now, on running servers within a second."""
    with act.transaction():
        act.record("keys")
        act.record("members")
        db = act.shop.control
        found = find_customer(db, customer)
        find_member(db, found, name)
        ended = [key.id for key in keys(db, found.id) if key.member == name and not key.revoked_us]
        for id in ended:
            act.record("keys", NewRow("revoke", {"key": id}, account=found.id))
        act.record("members", NewRow("gone", {"name": name}, account=found.id))
    return Gone(name, tuple(ended))
