"""A customer's use as one file: a line for each day, key and model. The seller and the customer get the same bytes.

The folded table ``usage_day`` says how many requests each day has. Rows are read along an index from where the time begins, and a
day's lines are written as soon as as many rows of it were seen: so nothing is read that lies far before or behind, no
more than the days that are open is in memory, and a day is never written with a row less than was charged.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import orjson

from mofang.core.clock import UTC_OFFSET, day_of, shift
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.trade.accounts.customers import Customer
from mofang.trade.billing.balance import decimal

COLUMNS = ("day", "key", "model", "price_version", "test", "requests", "units", "tokens_in", "tokens_out", "debited", "currency")
PIECE = 5_000
DAYS_MOST = 366  # of one file
SLACK_US = 600_000_000  # rows of several servers may stand so far out of order
LAST = 1 << 62


@dataclass(frozen=True)
class Days:
    """The days of a file, from the first to the last and both with it, such as ``2026-11-01``."""

    first: str
    last: str


@dataclass
class Day:
    """What was seen of one day: requests, units, tokens in and out, micros by key, model, price version and test."""

    requests: int
    sums: dict[tuple[str, str, int, int], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0, 0]))


def read_days(month: str = "", first: str = "", last: str = "", utc_offset: str = UTC_OFFSET) -> Days:
    """The days of a month such as ``2026-11``, or from one day until another; of the running month where nothing is named.

    A missing end is today, a missing beginning the first of the end's month. Raises ``query-wrong`` for what is no month or day,
    for both, and for more than a year.
    """
    today = _date("until", day_of(now_us(), utc_offset))
    if month or not (first or last):
        if first or last:
            raise MofangError("query-wrong", name="month", value=month[:40], wanted="month, or from and until")
        begin = _date("month", f"{month}-01" if month else f"{today:%Y-%m}-01", month[:40], "2026-11")
        return Days(str(begin), str((begin + timedelta(days=31)).replace(day=1) - timedelta(days=1)))
    end = _date("until", last) if last else today
    begin = _date("from", first) if first else end.replace(day=1)
    if begin > end or (end - begin).days >= DAYS_MOST:
        raise MofangError("query-wrong", name="from", value=f"{begin}…{end}", wanted=f"1…{DAYS_MOST} days")
    return Days(str(begin), str(end))


def _date(name: str, text: str, shown: str = "", wanted: str = "2026-11-01") -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = date.min
    if not text.isascii() or str(found) != text or not 2000 <= found.year < 2100:
        raise MofangError("query-wrong", name=name, value=shown or text[:40], wanted=wanted)
    return found


def usage_file(db: Database, customer: Customer, days: Days, utc_offset: str = UTC_OFFSET) -> Iterator[str]:
    """CSV (RFC 4180, with a header) piece by piece: what was asked on each day and what it debited.

    Amounts are exact decimal numbers. Days begin on the shop's clock; everything is as of one moment.
    """
    yield _lines([COLUMNS])
    with _as_of_now(db) as seen:
        sql = "select day, sum(requests) from usage_day where account=? and day>=? and day<=? group by day order by day"
        open_ = {day: Day(int(count)) for day, count in seen.rows(sql, (customer.id, days.first, days.last))}
        begin = _begin(seen, customer.id, _midnight_us(days.first, utc_offset) - SLACK_US) if open_ else LAST
        waiting = sorted(open_)
        for _ in _walk(seen, customer.id, begin, open_):
            while waiting and not open_[waiting[0]].requests:
                day = waiting.pop(0)
                yield _lines(_rows(day, open_.pop(day), customer.currency))
        assert not waiting, f"the table of days counts more requests of {customer.id} on {waiting[0]} than its journal holds"


def _walk(db: Database, account: str, begin: int, days: dict[str, Day]) -> Iterator[None]:
    """Count rows into their days from a place on, and then from the first on, until every day has all; stops after each piece."""
    sql = """select position, at_us, body from journal where journal='usage' and account=? and position>=? and position<?
        and kind='use' order by position limit ?"""
    for position, end in ((begin, LAST), (0, begin)):
        while days and (rows := db.rows(sql, (account, position, end, PIECE))):
            for _, at_us, text in rows:
                body = orjson.loads(text)
                day = days.get(body.get("day") or day_of(at_us))
                if day is None:
                    continue
                found = day.sums[body["key"], body["model"], body["price"] or 0, int(body["test"])]
                found[0] += 1
                found[1] += body["units"]
                found[2] += body.get("tokens_in", 0)
                found[3] += body.get("tokens_out", 0)
                found[4] += body["micros"]
                day.requests -= 1
            position = rows[-1][0] + 1
            yield


def _begin(db: Database, account: str, from_us: int) -> int:
    """A place in the journal before which, if clocks were right, no row of the account is younger; found by halving."""
    sql = "select position, at_us from journal where journal='usage' and account=? and position>=? order by position limit 1"
    newest = "select coalesce(max(position), 0) from journal where journal='usage' and account=?"
    low, high = 0, int(db.rows(newest, (account,))[0][0])
    while low < high:
        middle = (low + high) // 2
        position, at_us = db.rows(sql, (account, middle))[0]
        if at_us < from_us:
            low = position + 1
        else:
            high = middle
    return low


def _midnight_us(day: str, utc_offset: str) -> int:
    begin = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) - shift(utc_offset)
    return int(begin.timestamp()) * 1_000_000


@contextmanager
def _as_of_now(db: Database) -> Iterator[Database]:
    """A connection of its own that sees the books as they are now, however long it reads; whoever writes goes on."""
    seen = db.again()
    try:
        seen.run("begin isolation level repeatable read read only" if seen.dialect == "postgresql" else "begin")
        yield seen
    finally:
        seen.close()


def _rows(day: str, found: Day, currency: str) -> list[tuple[object, ...]]:
    return [(day, key, model, price or "", "yes" if test else "no", *counts, decimal(micros), currency)
            for (key, model, price, test), (*counts, micros) in sorted(found.sums.items())]


def _lines(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
