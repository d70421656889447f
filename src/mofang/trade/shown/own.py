"""What the page of a customer's own account shows: use, balance, limits, bills, leases; never anything of another's."""

from __future__ import annotations

from typing import Any

from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer
from mofang.trade.accounts.keys import Key
from mofang.trade.accounts.limits import NONE, Limit, month_of, used_of
from mofang.trade.accounts.lists import open_books
from mofang.trade.accounts.own import check_may
from mofang.trade.billing.balance import balance_of
from mofang.trade.leases.book import leases
from mofang.trade.shown.bills import bill_rows
from mofang.trade.shown.days import use_by_day

MONTHS_SHOWN = 24


def own_use(db: Database, customer: Customer, key: Key, limits: list[Limit], utc_offset: str) -> dict[str, Any]:
    """Use by day and by month and model, what may be spent, and the limits of the customer and of this key. Amounts in micros.

    Raises ``key-may-not`` for a key that is good for other things.
    """
    check_may(key, "usage")
    at_us = now_us()
    found = balance_of(db, customer.id, at_us, utc_offset)
    sql = """select substr(day, 1, 7), model, test, sum(requests), sum(units), sum(micros) from usage_day where account=?
        group by 1, 2, 3 order by 1 desc, 2, 3"""
    rows = [{"month": month, "model": model, "test": bool(test), "requests": int(requests), "units": int(units),
             "micros": int(micros)} for month, model, test, requests, units, micros in db.rows(sql, (customer.id,))]
    month = month_of(at_us, utc_offset)
    months = sorted({row["month"] for row in rows}, reverse=True)[:MONTHS_SHOWN]
    return {
        "balance": found, "balance_micros": found.topped_up - found.debited, "month": month, "months": months or [month],
        "days": use_by_day(db, customer.id, utc_offset), "use": [row for row in rows if row["month"] in months],
        "limits": [{"key": one.key, "requests": one.requests, "per_s": one.per_s, "burst": one.burst,
                    "concurrency": one.concurrency, "budget_micros": None if one.budget_micros == NONE else one.budget_micros,
                    "used_micros": used_of(db, one.scope, month) if one.budget_micros != NONE else 0} for one in limits],
    }


def own_bills(shop: Shop, customer: Customer, key: Key) -> list[Any]:
    """The customer's bills whose document is made, newest first, with what is paid of each. Raises ``key-may-not``."""
    check_may(key, "invoices")
    return [one for one in bill_rows(shop, customer.id) if one.state != "unfinished"][::-1]


def own_leases(shop: Shop, customer: Customer, key: Key) -> list[Any]:
    """The customer's leases, each with how it stands. Raises ``key-may-not``."""
    check_may(key, "usage")
    at_us = now_us()
    return [(one, one.state(at_us)) for one in leases(open_books(shop), customer.id)]
