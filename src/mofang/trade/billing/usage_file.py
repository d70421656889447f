"""A customer's use as one file: a line for each day, key and model. The seller and the customer get the same bytes."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict

import orjson

from mofang.core.clock import UTC_OFFSET, day_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.trade.accounts.customers import Customer
from mofang.trade.billing.balance import decimal
from mofang.trade.billing.billed import bounds, period_at

COLUMNS = ("day", "key", "model", "price_version", "test", "requests", "units", "tokens_in", "tokens_out", "debited", "currency")
PIECE = 5_000
MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")


def usage_file(db: Database, customer: Customer, month: str = "", utc_offset: str = UTC_OFFSET) -> str:
    """CSV (RFC 4180, with a header) of one month, the running one if none is named: what was asked and what it debited.

    Amounts are exact decimal numbers. Days begin on the shop's clock. Raises ``query-wrong`` for what is no month.
    """
    if month and not MONTH.fullmatch(month):
        raise MofangError("query-wrong", name="month", value=month[:40], wanted="2026-11")
    from_us, to_us = bounds(month or period_at(now_us(), utc_offset), utc_offset)
    sums: dict[tuple[str, str, str, int, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    sql = """select position, at_us, kind, body from journal where journal='usage' and account=? and position>?
        order by position limit ?"""
    position = 0
    while rows := db.rows(sql, (customer.id, position, PIECE)):
        position = rows[-1][0]
        for _, at_us, kind, text in rows:
            if kind != "use" or not from_us <= at_us < to_us:
                continue
            body = orjson.loads(text)
            found = sums[day_of(at_us, utc_offset), body["key"], body["model"], body["price"] or 0, int(body["test"])]
            for place, value in enumerate(
                (1, body["units"], body.get("tokens_in", 0), body.get("tokens_out", 0), body["micros"])
            ):
                found[place] += value
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for (day, key, model, price, test), (requests, units, read, said, micros) in sorted(sums.items()):
        writer.writerow(
            (
                day,
                key,
                model,
                price or "",
                "yes" if test else "no",
                requests,
                units,
                read,
                said,
                decimal(micros),
                customer.currency,
            )
        )
    return out.getvalue()
