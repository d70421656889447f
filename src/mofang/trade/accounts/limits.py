"""Limits of a customer or of one key: how fast, how many at once, and how much money in a month.

A *rate* is counted by GCRA in whole nanoseconds, over all workers of a machine (``pace``). *Concurrency* is the number of
requests being answered at a moment, counted likewise. A *budget* is money of a calendar month on the shop's clock: like
the balance it is set aside durably before it is used (``commit``), so that any number of servers never passes it by a
micro; ``soft`` is where it is said once that the budget runs low. A budget counts what is answered from the moment it is
set. Each change is a row of the journal ``limits``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from mofang.core.action import Act, action, turn
from mofang.core.clock import UTC_OFFSET, day_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import parse_amount
from mofang.core.rule import Rule
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.keys import find_key

NONE = -1  # where there is no budget; 0 is one that allows nothing
NOTHING = {"none", "no", "无", "不限"}
PERIODS = {"second": 1, "s": 1, "sec": 1, "秒": 1, "minute": 60, "m": 60, "min": 60, "分钟": 60, "分": 60, "hour": 3600, "h": 3600,
           "小时": 3600, "时": 3600, "day": 86_400, "d": 86_400, "天": 86_400, "日": 86_400}
RATE = re.compile(r"([0-9]{1,9})\s*(?:次|requests?)?\s*[/／]\s*([0-9]{0,5})\s*([a-z]{1,7}|[秒分钟小时天日]{1,2})", re.IGNORECASE)
MOST = 1_000_000  # requests at once, or in a burst
LIMITED_MOST = 2_000  # that have limits: what workers share has room for twice as many
SECOND_NS = 1_000_000_000

TABLES = (
    """create table if not exists limit_of(account text not null, key text not null, requests bigint not null,
        per_s bigint not null, burst bigint not null, concurrency bigint not null, budget_micros bigint not null,
        soft_micros bigint not null, primary key(account, key))""",
    """create table if not exists budget_low(scope text not null, month text not null, micros bigint not null,
        at_us bigint not null, primary key(scope, month))""",
)


@dataclass(frozen=True)
class Limit:
    """What one customer (``key`` empty) or one key may do: ``requests`` in ``per_s`` seconds, of them ``burst`` at once;
    0 where there is no such limit. Budgets in micros a month, ``NONE`` where there is none."""

    account: str
    key: str = ""
    requests: int = 0
    per_s: int = 0
    burst: int = 0
    concurrency: int = 0
    budget_micros: int = NONE
    soft_micros: int = NONE

    @property
    def scope(self) -> str:
        """The customer and the key in one word; no account has such a name."""
        return f"{self.account}/{self.key}"

    @cached_property
    def interval_ns(self) -> int:
        """How long one request uses up the rate; rounded up, so that it is never passed. 0: no rate."""
        return -(-self.per_s * SECOND_NS // self.requests) if self.requests else 0

    @cached_property
    def slack_ns(self) -> int:
        """How far ahead of an even pace a burst may run."""
        return self.interval_ns * (max(1, self.burst) - 1)

    @property
    def paced(self) -> bool:
        """Whether a request must be looked at before it begins."""
        return bool(self.requests or self.concurrency)


@dataclass(frozen=True)
class Budget:
    """A budget as a commit needs it: money that this scope may use in a month, and where it is said to run low."""

    scope: str
    micros: int
    soft_micros: int = NONE


@fold("limits", tables=TABLES)
def fold_limits(db: Database, rows: list[Row]) -> None:
    """The limits as they stand, and the budgets that ran low."""
    for row in rows:
        body = row.body
        if row.kind == "limit":
            values = (body["requests"], body["per_s"], body["burst"], body["concurrency"], body["budget_micros"],
                      body["soft_micros"])
            db.run("delete from limit_of where account=? and key=?", (row.account, body["key"]))
            if values != (0, 0, 0, 0, NONE, NONE):
                db.run("insert into limit_of values(?,?,?,?,?,?,?,?)", (row.account, body["key"], *values))
        elif row.kind == "low":
            db.run("insert into budget_low values(?,?,?,?) on conflict(scope, month) do nothing",
                   (body["scope"], body["month"], body["micros"], row.at_us))


def limits(db: Database, account: str = "") -> list[Limit]:
    """All limits, or those of one customer and its keys."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    return [Limit(*row) for row in db.rows(f"select * from limit_of{condition} order by account, key", params)]


def used_of(db: Database, scope: str, month: str) -> int:
    """The micros of a budget that were used in a month (``2026-11``)."""
    return int(db.rows("select coalesce(sum(micros), 0) from budget_used where scope=? and month=?", (scope, month))[0][0])


def held_of(db: Database, scope: str) -> int:
    """The micros of a budget that servers have set aside."""
    return int(db.rows("select coalesce(sum(micros), 0) from allotment where account=?", (scope,))[0][0])


def month_of(at_us: int, utc_offset: str = UTC_OFFSET) -> str:
    """The calendar month of a moment."""
    return day_of(at_us, utc_offset)[:7]


def low_budgets(db: Database, month: str) -> list[Limit]:
    """The budgets that ran low this month."""
    low = {row[0] for row in db.rows("select scope from budget_low where month=?", (month,))}
    return [one for one in limits(db) if one.scope in low]


def read_rate(text: str) -> tuple[int, int]:
    """``600/minute``, ``10/s``, ``100 / 5 min``, ``60次/分钟`` as (requests, seconds)."""
    found = RATE.fullmatch(text.strip())
    seconds = PERIODS.get(found[3].lower().removesuffix("s") or "s", 0) if found else 0
    if found is None or not seconds or not int(found[1]) or found[2] == "0":
        raise MofangError("rate-unreadable", text=text)
    per_s = seconds * int(found[2] or 1)
    if int(found[1]) > MOST * per_s:
        raise MofangError("rate-unreadable", text=text)
    return int(found[1]), per_s


Count = Annotated[int, Rule(ge=-1, le=MOST)]


@action(may="money")
def limit_set(act: Act, *, customer: str, key: str = "", rate: str = "", burst: Count = -1, concurrency: Count = -1,
              budget: str = "", soft: str = "") -> Limit:
    """Limit a customer, or one of its keys; what is not named stays as it is, ``none`` (or 0) takes a limit away.

    ``rate`` such as ``600/minute``; ``burst`` of them may come at once (else a second's worth); ``concurrency`` is how many
    may be on their way; ``budget`` is an amount a month that is never passed, ``soft`` one at which it is said to run low.
    Running servers follow within a second.
    """
    with turn(act, "limits") as db:
        found = find_customer(db, customer)
        of_key = find_key(db, key) if key else None
        if of_key is not None and of_key.account != found.id:
            raise MofangError("limit-other-customer", key=of_key.id, customer=found.name)
        standing = limits(db)
        name = of_key.id if of_key else ""
        old = next((one for one in standing if (one.account, one.key) == (found.id, name)), None)
        new = old or Limit(found.id, name)
        if rate:
            requests, per_s = (0, 0) if rate.strip().lower() in NOTHING else read_rate(rate)
            new = replace(new, requests=requests, per_s=per_s, burst=max(1, requests // per_s) if requests else 0)
        if burst >= 0:
            if not new.requests:
                raise MofangError("burst-without-rate")
            new = replace(new, burst=max(1, burst))
        if concurrency >= 0:
            new = replace(new, concurrency=concurrency)
        if budget:
            new = replace(new, budget_micros=_money(budget, found.currency))
        if soft:
            new = replace(new, soft_micros=_money(soft, found.currency))
        new = _checked(new, old is None, len(standing))
        body = {name: value for name, value in vars(new).items() if name in Limit.__dataclass_fields__ and name != "account"}
        act.record("limits", NewRow("limit", body, account=found.id))
    return new


def _money(text: str, currency: str) -> int:
    return NONE if text.strip().lower() in NOTHING else parse_amount(text, currency)


def _checked(new: Limit, first: bool, standing: int) -> Limit:
    if new.budget_micros == NONE and new.soft_micros != NONE:
        raise MofangError("soft-without-budget")
    if new.soft_micros > new.budget_micros:
        raise MofangError("soft-above-budget")
    if first and standing >= LIMITED_MOST:
        raise MofangError("limits-too-many", most=LIMITED_MOST)
    return new
