"""What was noticed without anybody asking: reconciliations, days of unusual volume, and soft budgets that are passed.

Journal ``jobs``: ``reconciled`` and ``differs`` are what a reconciliation found (the second is told over the outbox),
``unusual`` is a customer's day far above its usual ones, once a day. A soft budget's row stands in the journal ``limits``, where
the commit that passes it writes it; here it is written for budgets that were set below what is used already.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.accounts.standing import unusual
from mofang.trade.billing.balance import lock_accounts

if TYPE_CHECKING:
    from mofang.trade.billing.reconcile import Differences

JOURNAL = "jobs"
WHOLE_DAYS = 2  # a comparison of fewer days says nothing about what an earlier one found
TABLES = (
    """create table if not exists reconciliation(name text primary key, at_us bigint not null, days integer not null,
        wrong bigint not null, body text not null)""",
    """create table if not exists unusual_day(account text not null, day text not null, requests bigint not null,
        usual bigint not null, primary key(account, day))""",
)


@fold(JOURNAL, tables=TABLES)
def fold_jobs(db: Database, rows: list[Row]) -> None:
    """The last reconciliation, and the days of unusual volume."""
    for row in rows:
        body = row.body
        if row.kind in ("reconciled", "differs"):
            name = "last" if body["days"] >= WHOLE_DAYS else "short"
            db.run("delete from reconciliation where name=?", (name,))
            db.run("insert into reconciliation values(?,?,?,?,?)", (name, row.at_us, body["days"], body["wrong"], row.text))
        elif row.kind == "unusual":
            db.run("insert into unusual_day values(?,?,?,?) on conflict(account, day) do nothing",
                   (row.account, body["day"], body["requests"], body["usual"]))


def note_reconciled(shop: Shop, found: Differences, days: int, *, by: str = "") -> None:
    """Write down what a reconciliation found. ``by`` is who typed it; what happens by itself is told over the outbox too."""
    open_books(shop)
    kind = "differs" if found.wrong and not by else "reconciled"
    body = {**found.to_dict(), "days": days, **({"by": by} if by else {})}
    shop.journals.record(JOURNAL, [NewRow(kind, body)])


def last_reconciliation(db: Database) -> dict[str, Any] | None:
    """What the last reconciliation of two days or more found, with ``at_us``; None before the first."""
    rows = db.rows("select at_us, body from reconciliation where name='last'")
    return {**json.loads(rows[0][1]), "at_us": int(rows[0][0])} if rows else None


def note_unusual(shop: Shop) -> int:
    """A row for each customer that asks far more today than on a usual day, once a day; how many are new."""
    db, offset = open_books(shop), shop_offset(shop)
    day, new = day_of(now_us(), offset), 0
    for one in unusual(db, offset):
        with db.transaction():
            shop.journals.append(JOURNAL, [], writer="hand")  # its turn
            if db.rows("select 1 from unusual_day where account=? and day=?", (one.account, day)):
                continue
            body = {"day": day, "requests": one.requests, "usual": one.usual}
            shop.journals.append(JOURNAL, [NewRow("unusual", body, account=one.account)], writer="hand")
            new += 1
    return new


def note_low(shop: Shop) -> int:
    """A row for each budget whose soft line is passed and of which nobody has said so this month; how many are new.

    The commit that passes a line says so itself (``request/commit``); a line drawn below what is used already is found here.
    """
    db = open_books(shop)
    month = day_of(now_us(), shop_offset(shop))[:7]
    sql = """select limit_of.account, budget_used.scope, limit_of.soft_micros from limit_of
        join budget_used on budget_used.scope = limit_of.account || '/' || limit_of.key and budget_used.month=?
        left join budget_low on budget_low.scope=budget_used.scope and budget_low.month=budget_used.month
        where limit_of.soft_micros>0 and budget_used.micros>=limit_of.soft_micros and budget_low.scope is null"""
    new = 0
    for account, scope, soft in db.rows(sql, (month,)):
        with db.transaction():
            lock_accounts(db, [account])  # as the commits do
            shop.journals.append("limits", [], writer="hand")
            if db.rows("select 1 from budget_low where scope=? and month=?", (scope, month)):
                continue
            used = db.rows("select micros from budget_used where scope=? and month=?", (scope, month))
            body = {"scope": scope, "month": month, "micros": int(used[0][0]), "soft_micros": int(soft)}
            shop.journals.append("limits", [NewRow("low", body, account=account)], writer="hand")
            new += 1
    return new
