"""Where customers stand: one with all that concerns it, and all over time: use by customer, model and segment, cohorts, churn.

Everything is summed from the folded tables; a month is one on the shop's clock. Test keys are left out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import credit_notes, customers, find_customer
from mofang.trade.accounts.keys import keys
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.accounts.terms import agreement, subscriptions
from mofang.trade.billing.balance import at_servers, balance_of
from mofang.trade.billing.claims import invoices_of
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.billing.paid import payments

By = Literal["customer", "model", "segment"]
DAY_US = 86_400_000_000
LOOKED_BACK = 28  # days before today that a usual day is the median of
USUAL_DAYS = 7  # with fewer days of use nothing is usual yet
UNUSUAL_TIMES, UNUSUAL_REQUESTS = 5, 500


@dataclass(frozen=True)
class Unusual:
    """A customer that asks far more today than on a usual day."""

    customer: str
    requests: int
    usual: int
    account: str = ""


def standing(shop: Shop, name: str) -> dict[str, Any]:
    """All that concerns one customer: terms, keys, money in and out, bills, use by month and model. Amounts in micros."""
    db = open_books(shop)
    who = find_customer(db, name)
    found = balance_of(db, who.id, now_us(), shop_offset(shop))
    sql = """select substr(day, 1, 7), model, sum(requests), sum(units), sum(micros) from usage_day where account=? and test=0
        group by 1, 2 order by 1, 2"""
    use = [
        {"month": month, "model": model, "requests": int(requests), "units": int(units), "debited_micros": int(micros)}
        for month, model, requests, units, micros in db.rows(sql, (who.id,))
    ]
    own, drawn = keys(db, who.id), at_servers(db, who.id)
    return {
        "customer": who.name,
        "id": who.id,
        "currency": who.currency,
        "test": who.test,
        "credit_micros": who.credit_micros,
        "paid_in_micros": sum(one.micros - one.lapsed_micros for one in payments(db, who.id)),
        "balance_micros": found.left,
        "held_micros": found.held - drawn,
        "available_micros": found.available + drawn,
        "agreed": vars(agreement(db, who.id)),
        "subscriptions": [vars(one) for one in subscriptions(db, who.id)],
        "keys": len([one for one in own if not one.revoked_us]),
        "use": use,
        "invoices": [
            {"invoice": one.number, "period": one.period, "total_micros": one.total_micros, "issued": bool(one.entry)}
            for one in invoices_of(db, who.id)
        ],
        "payments": [vars(one) for one in payments(db, who.id)],
        "credits": [vars(one) for one in credit_notes(db, who.id)],
        "charges": [vars(one) for one in oneoffs(db, who.id)],
    }


def use_over_time(shop: Shop, by: By = "customer") -> list[dict[str, Any]]:
    """Requests, units and what was debited, by month and customer, model or segment."""
    db = open_books(shop)
    who = {one.id: one for one in customers(db)}
    segments = {id: agreement(db, id).segment or "–" for id in who} if by == "segment" else {}
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    sql = """select substr(day, 1, 7), account, model, sum(requests), sum(units), sum(micros) from usage_day where test=0
        group by 1, 2, 3"""
    for month, account, model, *counts in db.rows(sql):
        name = {"customer": who[account].name if account in who else account, "model": model}.get(by) or segments.get(
            account, "–"
        )
        for place, count in enumerate(counts):
            sums[month, name][place] += int(count)
    return [
        {"month": month, by: name, "requests": requests, "units": units, "debited_micros": micros}
        for (month, name), (requests, units, micros) in sorted(sums.items())
    ]


def cohorts(shop: Shop) -> list[dict[str, Any]]:
    """Customers by the month in which they first asked: how many there were, and how many asked again in each month after."""
    months = _months(open_books(shop))
    first = {account: min(found) for account, found in months.items()}
    newest = max((month for found in months.values() for month in found), default="")
    rows = []
    for begin in sorted(set(first.values())):
        members = [account for account, month in first.items() if month == begin]
        later = _from(begin, newest)
        rows.append(
            {
                "first_month": begin,
                "customers": len(members),
                "asked": {month: sum(1 for account in members if month in months[account]) for month in later},
                "debited_micros": {month: sum(months[account].get(month, 0) for account in members) for month in later},
            }
        )
    return rows


def churn(shop: Shop) -> list[dict[str, Any]]:
    """Month by month: who asked, who was new, who came back, who asked no more, and what the lost came to before."""
    months = _months(open_books(shop))
    every = sorted({month for found in months.values() for month in found})
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    before: set[str] = set()
    for month in _from(every[0], every[-1]) if every else ():
        active = {account for account, found in months.items() if month in found}
        lost = before - active
        last = rows[-1]["month"] if rows else ""
        rows.append(
            {
                "month": month,
                "active": len(active),
                "new": len(active - seen),
                "back": len((active & seen) - before),
                "lost": len(lost),
                "lost_micros": sum(months[account].get(last, 0) for account in lost),
                "debited_micros": sum(months[account][month] for account in active),
            }
        )
        seen |= active
        before = active
    return rows


def unusual(db: Database, utc_offset: str) -> list[Unusual]:
    """Customers that have asked at least five times as much today as on the median of their days with use before."""
    today = day_of(now_us(), utc_offset)
    since = day_of(now_us() - LOOKED_BACK * DAY_US, utc_offset)
    days: dict[str, dict[str, int]] = defaultdict(dict)
    sql = "select account, day, sum(requests) from usage_day where test=0 and day>=? and day<=? group by account, day"
    for account, day, requests in db.rows(sql, (since, today)):
        days[account][day] = int(requests)
    names = {one.id: one.name for one in customers(db)}
    found = []
    for account, counts in sorted(days.items()):
        now = counts.pop(today, 0)
        if (
            len(counts) >= USUAL_DAYS
            and now >= UNUSUAL_REQUESTS
            and now >= UNUSUAL_TIMES * (usual := int(median(counts.values())))
        ):
            found.append(Unusual(names.get(account, account), now, usual, account))
    return found


def _months(db: Database) -> dict[str, dict[str, int]]:
    """What each customer was debited in each month in which it asked."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for account, month, micros in db.rows(
        "select account, substr(day, 1, 7), sum(micros) from usage_day where test=0 group by 1, 2"
    ):
        found[account][month] = int(micros)
    return found


def _from(first: str, last: str) -> list[str]:
    """Every month from one to another."""
    found, month = [], first
    while month <= last:
        found.append(month)
        year, number = int(month[:4]), int(month[5:])
        month = f"{year + number // 12}-{number % 12 + 1:02d}"
    return found
