"""What is agreed with a customer beyond prices, as facts: discount, tax, a least amount a month, and subscriptions.

Rows of the journal ``customers`` (``agreed`` writes them). A bill goes by what was agreed before its month ended;
subscriptions are counted by the days on which they ran. Rates are parts per million, whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.journal import Row
from mofang.core.money import round_half_even_minor


@dataclass(frozen=True)
class Agreed:
    """Discount and tax in parts per million, the least that a month comes to in micros, and the segment."""

    discount_ppm: int = 0
    tax_ppm: int = 0
    tax_name: str = ""
    minimum_micros: int = 0
    segment: str = ""  # for your own tables; no bill says it


@dataclass(frozen=True)
class Subscription:
    """A monthly fee for a model with a number of units in it, from one day to another (the last day included; "" has no end)."""

    id: str
    account: str
    model: str
    monthly_micros: int
    included: int
    first: str
    last: str = ""

    def days_in(self, month: str) -> tuple[int, int]:
        """On how many days of a month it runs, and how many days the month has."""
        begin, after = _month(month)
        low = max(begin, date.fromisoformat(self.first))
        high = min(after, date.fromisoformat(self.last) + timedelta(days=1)) if self.last else after
        return max(0, (high - low).days), (after - begin).days

    def in_month(self, month: str, currency: str) -> tuple[int, int, int, int]:
        """Fee in micros (rounded to what can be paid), units included, days it runs, days of the month."""
        ran, of = self.days_in(month)
        return round_half_even_minor(self.monthly_micros * ran // of, currency), self.included * ran // of, ran, of


def _month(month: str) -> tuple[date, date]:
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, 1), date(year + number // 12, number % 12 + 1, 1)


def agreed_at(rows: Iterable[tuple[int, dict[str, Any]]], before_us: int) -> Agreed:
    """What was agreed last before a moment, out of (time, body) of the rows ``agreed`` of one customer, in their order."""
    found = Agreed()
    for at_us, body in rows:
        if at_us < before_us:
            found = Agreed(**{name: body[name] for name in Agreed.__dataclass_fields__})
    return found


def subscriptions_of(rows: Iterable[tuple[str, str, dict[str, Any]]]) -> list[Subscription]:
    """Subscriptions out of (id, kind, body) of the rows of one customer, in their order."""
    found: dict[str, Subscription] = {}
    for id, kind, body in rows:
        if kind == "subscribe":
            found[id] = Subscription(
                id, body["account"], body["model"], body["monthly_micros"], body["included"], body["first"], body["last"]
            )
        elif kind == "unsubscribe" and body["subscription"] in found:
            found[body["subscription"]] = Subscription(**{**found[body["subscription"]].__dict__, "last": body["last"]})
    return list(found.values())


# Folded from the journal ``customers`` (customers.py calls it)

TABLES = (
    "create table if not exists agreement(account text primary key, body text not null, at_us bigint not null)",
    """create table if not exists subscription(id text primary key, account text not null, model text not null,
        monthly_micros bigint not null, included bigint not null, first text not null, last text not null)""",
)


def fold_agreed(db: Database, row: Row) -> None:
    """One row of what was agreed."""
    body = row.body
    if row.kind == "agreed":
        told = canonical({name: body[name] for name in Agreed.__dataclass_fields__}).decode()
        db.run(
            """insert into agreement values(?,?,?) on conflict(account) do update set body=excluded.body,
            at_us=excluded.at_us""",
            (row.account, told, row.at_us),
        )
    elif row.kind == "subscribe":
        db.run(
            "insert into subscription values(?,?,?,?,?,?,?)",
            (row.id, row.account, body["model"], body["monthly_micros"], body["included"], body["first"], body["last"]),
        )
    elif row.kind == "unsubscribe":
        db.run("update subscription set last=? where id=?", (body["last"], body["subscription"]))


def agreement(db: Database, account: str) -> Agreed:
    """What is agreed with a customer now."""
    found = db.rows("select body from agreement where account=?", (account,))
    return Agreed(**json.loads(found[0][0])) if found else Agreed()


def subscriptions(db: Database, account: str = "") -> list[Subscription]:
    """All subscriptions, or one customer's, ended ones too, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    sql = f"select id, account, model, monthly_micros, included, first, last from subscription{condition} order by id"
    return [Subscription(*row) for row in db.rows(sql, params)]
