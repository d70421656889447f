"""What a customer has used, owes and may still spend, folded from the journal ``usage``.

Three kinds of rows: ``draw`` sets an allotment of a customer's money aside for one server process, ``use`` charges one
answered request against it, ``return`` gives back what is left. A budget (``limits``) has allotments like a customer's,
in the name of its scope; a ``use`` names the budgets that it counts against. All tables are sums, so that the order in
which several servers commit makes no difference; the money that is free is always worked out in the transaction that
takes it. What was charged once (``oneoff``: lease fees, fine-tunes, solutions) counts from the moment it is charged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mofang.core.clock import UTC_OFFSET, day_of, month_begins_us
from mofang.core.database import Database
from mofang.core.journal import Journals, NewRow, Row, fold
from mofang.core.money import MICROS, PER_UNITS
from mofang.trade.accounts.customers import Customer
from mofang.trade.billing.oneoff import SUMS

TABLES = (
    """create table if not exists allotment(account text not null, worker text not null, micros bigint not null,
        expires_us bigint not null, primary key(account, worker))""",
    """create table if not exists carried(account text not null, model text not null, price bigint not null,
        part bigint not null, primary key(account, model, price))""",
    """create table if not exists usage_day(account text not null, day text not null, model text not null,
        test integer not null, requests bigint not null, units bigint not null, micros bigint not null,
        primary key(account, day, model, test))""",
    """create table if not exists usage_repeat(account text not null, day text not null, key text not null,
        requests bigint not null, primary key(account, day, key))""",
    """create table if not exists budget_used(scope text not null, month text not null, micros bigint not null,
        primary key(scope, month))""",
)


PIECE = 500  # values in one statement
ORDERED = "custom-"  # so begin the names in which a price is set aside for an order; other names are servers


@dataclass(frozen=True)
class Balance:
    """Where a customer stands, in micros. ``available`` is what a server may still set aside.

    ``debited`` and ``month`` are use, of all time and of this month; ``charged`` and ``charged_month`` what was charged once.
    """

    credit: int
    topped_up: int
    debited: int
    month: int
    held: int
    charged: int = 0
    charged_month: int = 0

    @property
    def left(self) -> int:
        """What was paid in and is neither used, charged nor billed; below nothing where more is owed."""
        return self.topped_up - self.debited - self.charged

    @property
    def prepaid(self) -> int:
        """What was topped up and not used up before this month."""
        return max(0, self.left + self.month + self.charged_month)

    @property
    def available(self) -> int:
        """Prepaid money and this month's credit, less what this month used and was charged, and what servers hold."""
        return self.prepaid + self.credit - self.month - self.charged_month - self.held


@dataclass(slots=True)
class Change:
    """What some rows do to one allotment; ``over`` where the last of them returns it."""

    micros: int = 0
    expires_us: int = 0
    over: bool = False


@fold("usage", tables=TABLES)
def fold_usage(db: Database, rows: list[Row]) -> None:
    """Sum the rows by customer, day and allotment; each table is written once however many rows come.

    A row names its day where the shop keeps another clock than UTC+8.
    """
    allotted: dict[tuple[str, str], Change] = defaultdict(Change)
    parts: dict[tuple[str, str, int], int] = defaultdict(int)
    days: dict[tuple[str, str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    repeats: dict[tuple[str, str, str], int] = defaultdict(int)
    budgets: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        body = orjson.loads(row.text)
        if row.kind == "use":
            micros, on = body["micros"], body.get("day") or day_of(row.at_us)
            exact = body["units"] * body["rate"]
            day = days[row.account, on, body["model"], int(body["test"])]
            if body.get("repeat"):
                repeats[row.account, on, body["key"]] += 1
            day[0] += 1
            day[1] += body["units"]
            day[2] += micros
            for scope in body.get("budgets", ()):
                budgets[scope, on[:7]] += micros
                allotted[scope, row.writer].micros -= micros
            if body["price"] is not None and not body["test"]:
                if micros:
                    allotted[row.account, row.writer].micros -= micros
                if exact % PER_UNITS:
                    parts[row.account, body["model"].partition("@")[0], body["price"]] += exact - micros * PER_UNITS
        elif row.kind == "draw":
            one = allotted[row.account, row.writer]
            one.micros += body["micros"]
            one.expires_us, one.over = body["expires_us"], False
        elif row.kind == "return":
            one = allotted[row.account, body["worker"]]
            one.micros -= body["micros"]
            one.over = True
    if parts:
        db.many(CARRIED, sorted((*k, part) for k, part in parts.items()))
    if days:
        db.many(USAGE_DAY, sorted((*k, *v) for k, v in days.items()))
    if repeats:
        db.many(USAGE_REPEAT, sorted((*k, count) for k, count in repeats.items()))
    if budgets:
        db.many(BUDGET_USED, sorted((*k, micros) for k, micros in budgets.items()))
    if allotted:
        _fold_allotments(db, allotted)


def _adds(table: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> str:
    """The statement that adds to the sums of a table, making rows that are new."""
    marks = ",".join("?" * (len(keys) + len(sums)))
    added = ", ".join(f"{name}={table}.{name}+excluded.{name}" for name in sums)
    return f"insert into {table} values({marks}) on conflict({','.join(keys)}) do update set {added}"


CARRIED = _adds("carried", ("account", "model", "price"), ("part",))
USAGE_DAY = _adds("usage_day", ("account", "day", "model", "test"), ("requests", "units", "micros"))
USAGE_REPEAT = _adds("usage_repeat", ("account", "day", "key"), ("requests",))
BUDGET_USED = _adds("budget_used", ("scope", "month"), ("micros",))


def _fold_allotments(db: Database, changes: dict[tuple[str, str], Change]) -> None:
    """The newest draw sets the expiry; an allotment that was returned leaves no row."""
    db.many(
        """insert into allotment values(?,?,?,?) on conflict(account, worker) do update set
            micros=allotment.micros+excluded.micros,
            expires_us=case when excluded.expires_us>0 then excluded.expires_us else allotment.expires_us end""",
        sorted((*key, change.micros, change.expires_us) for key, change in changes.items()))
    over = sorted(key for key, change in changes.items() if change.over)
    if over:
        db.many("delete from allotment where account=? and worker=? and micros=0", over)


def rows_in(db: Database, sql: str, values: Sequence[Any], before: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query with ``in ({marks})`` for however many values, some hundred at a time; PostgreSQL takes them as one."""
    if db.dialect == "postgresql":
        return db.rows(sql.replace("in ({marks})", "= any(?)"), (*before, list(values))) if values else []
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(values), PIECE):
        piece = values[start : start + PIECE]
        found += db.rows(sql.format(marks=",".join("?" * len(piece))), (*before, *piece))
    return found


def lock_accounts(db: Database, accounts: Sequence[str]) -> None:
    """Keep other processes from these customers' money and budgets until the transaction ends; SQLite's has done so already."""
    if db.dialect == "postgresql":
        sql = "select account from account where account in ({marks}) order by account for update"
        rows_in(db, sql, sorted({name.partition("/")[0] for name in accounts}))


def balance_of(db: Database, account: str, at_us: int, utc_offset: str = UTC_OFFSET) -> Balance:
    """Where a customer stands at a moment, with the month of the shop's clock; exact inside the transaction that
    locked the account."""
    found = db.rows("select credit_micros, topped_up_micros from account where account=?", (account,))
    credit, topped_up = found[0] if found else (0, 0)
    month = day_of(at_us, utc_offset)[:8] + "01"
    sums = db.rows(
        f"""select coalesce((select sum(micros) from usage_day where account=?), 0),
            coalesce((select sum(micros) from usage_day where account=? and day>=?), 0),
            coalesce((select sum(micros) from allotment where account=?), 0), {SUMS}""",
        (account, account, month, account, account, account, month_begins_us(at_us, utc_offset)))
    debited, used, held, charged, charged_month = (int(value) for value in sums[0])
    return Balance(credit, topped_up, debited, used, held, charged, charged_month)


def at_servers(db: Database, account: str) -> int:
    """Of what is held, what running servers have drawn: its customer spends it on calls. The rest is set aside for orders."""
    sql = "select coalesce(sum(micros), 0) from allotment where account=? and worker not like ?"
    return int(db.rows(sql, (account, f"{ORDERED}%"))[0][0])


def usage_report(db: Database, customer: Customer, at_us: int, utc_offset: str = UTC_OFFSET) -> dict[str, Any]:
    """A customer's running month: use by day and model, and what may still be spent. Amounts are decimal strings."""
    month = day_of(at_us, utc_offset)[:7]
    sql = """select day, model, test, requests, units, micros from usage_day
        where account=? and day>=? order by day, model, test"""
    days = [{"day": day, "model": model, "test": bool(test), "requests": requests, "units": units,
             "price": decimal(micros)}
            for day, model, test, requests, units, micros in db.rows(sql, (customer.id, f"{month}-01"))]
    found = balance_of(db, customer.id, at_us, utc_offset)
    return {"customer": customer.name, "month": month, "currency": customer.currency, "spent": decimal(found.month),
            "charged": decimal(found.charged_month),
            "credit": decimal(found.credit), "prepaid": decimal(found.prepaid),
            "available": decimal(found.available + at_servers(db, customer.id)), "usage": days}


def decimal(micros: int) -> str:
    """An amount as a plain decimal number: ``0.005``, ``-3``."""
    whole, part = divmod(abs(micros), MICROS)
    return ("-" if micros < 0 else "") + (f"{whole}.{part:06d}".rstrip("0") if part else str(whole))


def return_expired(journals: Journals, at_us: int, keep: str = "") -> int:
    """Give back allotments whose server has not renewed them in time: it was killed, or hangs. The number returned.

    Run it as often as you like. A server that wakes up late finds its allotment gone and draws a new one before it
    charges anything (``meter``), so that nothing is spent twice. ``keep`` is a worker that is known to be alive.
    """
    db = journals.db
    sql = "select account from allotment where expires_us<? and worker<>? order by account"
    late = sorted({row[0] for row in db.rows(sql, (at_us, keep))})
    if not late:
        return 0
    with db.transaction():
        lock_accounts(db, late)
        sql = "select account, worker, micros from allotment where expires_us<? and worker<>? and account in ({marks})"
        found = rows_in(db, sql, late, (at_us, keep))
        journals.append("usage", [return_row(*row) for row in found])
    return len(found)


def return_row(account: str, worker: str, micros: int) -> NewRow:
    """The row that gives an allotment back."""
    return NewRow("return", {"worker": worker, "micros": micros}, account=account)
