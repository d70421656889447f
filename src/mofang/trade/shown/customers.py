"""Customers as pages show them: all with where they stand and what to look at, and one with everything that concerns it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mofang.core import lock
from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.money import round_half_even_minor
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.keys import Key, keys
from mofang.trade.accounts.limits import NONE, low_budgets
from mofang.trade.accounts.lists import accounts, all_limits, open_books, shop_offset
from mofang.trade.accounts.members import members
from mofang.trade.accounts.standing import standing, unusual
from mofang.trade.accounts.terms import agreement
from mofang.trade.shown.bills import bill_rows
from mofang.trade.shown.days import use_by_day
from mofang.trade.shown.listing import Choice

DAY_US = 86_400_000_000
QUIET_DAYS = 30
LINES_SHOWN = 100  # of payments, credits, charges and bills of one customer; the newest
ALERTS = ("money-used-up", "budget-low", "volume-unusual", "month-not-billed", "bill-open-long")
OPEN_LONG_DAYS = 30


@dataclass(frozen=True)
class Row:
    """A customer in the list. Amounts in micros; ``last_day`` is empty where it never asked; ``alerts`` are codes."""

    id: str
    name: str
    currency: str
    test: bool
    segment: str
    balance: int
    owed: int
    month: int
    last_day: str
    quiet: bool
    alerts: tuple[str, ...]


CHOICE: Choice[Row] = Choice(
    {"name": lambda one: one.name.casefold(), "segment": lambda one: (one.segment, one.name), "balance": lambda one: one.balance,
     "owed": lambda one: one.owed, "month": lambda one: one.month, "last": lambda one: one.last_day,
     "alerts": lambda one: len(one.alerts)},
    "name",
    {"owing": lambda one: one.owed > 0, "alerts": lambda one: bool(one.alerts), "quiet": lambda one: one.quiet,
     "test": lambda one: one.test},
    lambda one: f"{one.name}\n{one.id}\n{one.segment}",
    {"segment": lambda one, value: one.segment == value})


def open_all(shop: Shop) -> Database:
    """The books with the tables of everything that is shown, also in a shop that has sold nothing yet."""
    for journal in ("members", "custom"):
        lock.import_fold(journal)
    return open_books(shop)


def customer_rows(shop: Shop) -> list[Row]:
    """All customers with where they stand now, oldest first."""
    db, offset = open_all(shop), shop_offset(shop)
    today = day_of(now_us(), offset)
    last = dict(db.rows("select account, max(day) from usage_day where test=0 group by account"))
    alerts = _alerts(shop, db, today)
    quiet_before = day_of(now_us() - QUIET_DAYS * DAY_US, offset)
    found = []
    for who, balance in accounts(shop):
        owed = max(0, round_half_even_minor(balance.debited - balance.topped_up, who.currency))
        own = set(alerts[who.id])
        if not who.test and balance.debited and balance.available + balance.held <= 0:
            own.add("money-used-up")
        day = str(last.get(who.id) or "")
        found.append(Row(who.id, who.name, who.currency, who.test, agreement(db, who.id).segment,
                         balance.topped_up - balance.debited, owed, balance.month, day, bool(day) and day < quiet_before,
                         tuple(one for one in ALERTS if one in own)))
    return found


def _alerts(shop: Shop, db: Database, today: str) -> dict[str, set[str]]:
    """What to look at, by customer: budgets, unusual volume, months that stand on no bill, bills that are open for long."""
    found: dict[str, set[str]] = defaultdict(set)
    ids = {name: id for id, name in db.rows("select account, name from account")}
    for limit in low_budgets(db, today[:7]):
        found[limit.account].add("budget-low")
    for one in unusual(db, shop_offset(shop)):
        found[ids.get(one.customer, one.customer)].add("volume-unusual")
    sql = """select distinct usage_day.account from usage_day left join invoice on invoice.account=usage_day.account
        and invoice.period=substr(day, 1, 7) where test=0 and micros>0 and day<? and invoice.number is null"""
    for (account,) in db.rows(sql, (f"{today[:7]}-01",)):
        found[account].add("month-not-billed")
    late = now_us() - OPEN_LONG_DAYS * DAY_US
    for bill in bill_rows(shop):
        if bill.left and bill.issued_us < late:
            found[bill.account].add("bill-open-long")
    return found


def key_state(key: Key, at_us: int) -> str:
    """``revoked``, ``expired``, ``ending`` (it ends by itself) or ``good``."""
    if key.revoked_us:
        return "revoked"
    if key.expires_us:
        return "expired" if key.expires_us <= at_us else "ending"
    return "good"


def customer_facts(shop: Shop, id: str) -> dict[str, Any]:
    """All that concerns one customer: what ``mofang customer show`` says, with its keys (no secret), people, limits and days."""
    db, offset = open_all(shop), shop_offset(shop)
    who = find_customer(db, id)
    found = standing(shop, who.id)
    at_us = now_us()
    own = keys(db, who.id)
    owed = round_half_even_minor(max(0, -found["balance_micros"]), who.currency)
    limits = [{"key": one.key, "requests": one.requests, "per_s": one.per_s, "burst": one.burst, "concurrency": one.concurrency,
               "budget_micros": None if one.budget_micros == NONE else one.budget_micros,
               "soft_micros": None if one.soft_micros == NONE else one.soft_micros, "used_micros": used}
              for _, one, used in all_limits(shop, who.id)]
    return found | {
        "owed_micros": owed,
        "key_list": [{"id": one.id, "test": one.test, "label": one.label, "models": one.models, "scopes": one.scopes,
                      "member": one.member, "made_us": one.created_us, "expires_us": one.expires_us,
                      "revoked_us": one.revoked_us, "state": key_state(one, at_us)} for one in own],
        "members": [{"name": one.name, "role": one.role,
                     "keys": sum(key.member == one.name and not key.revoked_us for key in own)} for one in members(db, who.id)],
        "limits": limits,
        "days": use_by_day(db, who.id, offset),
        "bills": bill_rows(shop, who.id)[::-1][:LINES_SHOWN],
        "payments": found["payments"][::-1][:LINES_SHOWN],
        "credits": found["credits"][::-1][:LINES_SHOWN],
        "charges": found["charges"][::-1][:LINES_SHOWN],
        "use": found["use"][::-1],
        "segments": sorted({agreement(db, account).segment for (account,) in db.rows("select account from agreement")} - {""}),
    }
