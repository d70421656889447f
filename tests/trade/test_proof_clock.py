"""Bills and time: leap days, month ends, every zone on earth, a shop that would move, a clock that is set back.

A shop keeps one fixed distance from UTC, so no day has 23 or 25 hours and no hour comes twice; a zone with summer time is refused.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

import pytest

from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_subscribe
from mofang.trade.billing.billed import bounds, period_at
from mofang.trade.billing.issuing import invoice_document, invoices_of
from mofang.trade.billing.proofs import line_rows
from tests.stories.terminal import Inside
from tests.trade.bookkeeping import DAY_US, NAME, NOVEMBER, OCTOBER, Desk, books, refused

__all__ = ["books"]
OFFSETS = [f"{sign}{hours:02d}:{minutes:02d}" for sign in "+-" for hours in range(15) for minutes in (0, 30, 45)
           if (hours, minutes) <= ((14, 0) if sign == "+" else (12, 0))]
MONTHS = [f"{year}-{month:02d}" for year in range(2026, 2030) for month in range(1, 13)]


def at(text: str, offset: str) -> int:
    """A moment on a shop's clock, in microseconds, worked out apart from the product."""
    sign = -1 if offset[0] == "-" else 1
    away = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6])) * sign
    return round((datetime.fromisoformat(text).replace(tzinfo=UTC) - away - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


@pytest.mark.parametrize("offset", OFFSETS)
def test_months_meet_without_gap_or_overlap(offset: str) -> None:
    """Four years, one of them a leap year: each month begins where the one before ends, and has the days of the calendar."""
    ends = None
    for month in MONTHS:
        begin, end = bounds(month, offset)
        days = calendar.monthrange(int(month[:4]), int(month[5:]))[1]
        assert end - begin == days * DAY_US and begin == at(f"{month}-01", offset) and ends in (None, begin)
        assert period_at(begin, offset) == period_at(end - 1, offset) == month != period_at(end, offset)
        ends = end
    assert sum(bounds(f"{year}-02", offset)[1] - bounds(f"{year}-02", offset)[0] == 29 * DAY_US for year in range(2026, 2030)) == 1


@pytest.mark.parametrize(("month", "last", "following", "offset"), [
    ("2028-02", "2028-02-29", "2028-03", "+08:00"), ("2028-02", "2028-02-29", "2028-03", "-12:00"), ("2027-02", "2027-02-28", "2027-03", "+05:45"),
    ("2026-10", "2026-10-31", "2026-11", "-03:30"), ("2026-11", "2026-11-30", "2026-12", "+14:00"), ("2026-12", "2026-12-31", "2027-01", "-12:00")])
def test_the_last_and_the_first_moment_of_a_month(books: Desk, month: str, last: str, following: str, offset: str) -> None:
    """One row in the last second of a month, one in the first of the next: each on its own bill."""
    books.shop.change_settings(utc_offset=offset)
    books.use(1, at_us=at(f"{last}T23:59:59", offset))
    books.use(2, at_us=at(f"{following}-01T00:00:00", offset) + 1)
    bills = [invoice_document(books.shop, books.bill(one, early=True).number) for one in (month, following)]
    assert [[(line["units"], line["late"]) for line in one["lines"]] for one in bills] == [[(1, 0)], [(2, 0)]]


@pytest.mark.parametrize(("month", "first", "last", "micros"), [
    ("2028-02", "2028-02-29", "2028-02-29", 29_000_000), ("2028-02", "2028-02-01", "2028-02-29", 29 * 29_000_000),
    ("2027-02", "2027-02-28", "2027-02-28", 30_035_714), ("2026-10", "2026-10-31", "2026-11-01", 27_129_032),
    ("2026-11", "2026-10-31", "2026-11-01", 28_033_333)])
def test_a_subscription_costs_its_share_of_the_month_it_is_in(books: Desk, month: str, first: str, last: str, micros: int) -> None:
    """841 a month: a day of February costs a 29th in a leap year and a 28th in others, the 31st of October a 31st."""
    books.shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="841", starts=first, ends=last)
    books.clock.at_us = bounds(month, "+08:00")[1] + DAY_US
    document = invoice_document(books.shop, books.bill(month).number)
    (fee,) = [line for line in document["lines"] if line["kind"] == "subscription"]
    assert abs(fee["amount_micros"] - micros) <= 5_000, fee


@pytest.mark.parametrize("offset", ["+14:00", "-12:00", "+05:30"])
def test_a_shop_that_has_made_bills_keeps_its_clock(books: Desk, offset: str) -> None:
    """Else hours at a month's edge would lie in two months or in none: rows already sealed in them would stand on no bill."""
    folder = books.shop.path.parent
    assert Inside(folder).type("settings", "utc-offset", "+09:00", status=0)
    Inside(folder).type("settings", "utc-offset", "+08:00", status=0)
    books.use(1, at_us=OCTOBER + DAY_US)
    books.bill("2026-10", early=True)
    for language in ("en", "zh"):
        assert Inside(folder, language).type("settings", "utc-offset", offset, status=1).code == "offset-billed"
    Inside(folder).type("settings", "utc-offset", "+08:00", status=0)
    assert books.shop.again().settings["utc_offset"] == "+08:00"


def stood(shop: Shop) -> list[str]:
    """Every row that stands on any bill."""
    return [row.id for one in invoices_of(shop.control) for line in invoice_document(shop, one.number)["lines"]
            for row in line_rows(shop, one.number, line["line"])]


def test_a_clock_that_goes_back_between_rows_bills_each_of_them_once(books: Desk) -> None:
    """A day back, a month back, a year back and on again: what says October after October was billed is late on the next bill."""
    books.use(1, at_us=OCTOBER + 20 * DAY_US)
    books.bill("2026-10", early=True)
    books.use(2, at_us=NOVEMBER + 3 * DAY_US)
    for back_us in (DAY_US, 30 * DAY_US, 365 * DAY_US):
        books.use(4, at_us=books.clock.at_us - back_us)
    books.use(8, at_us=NOVEMBER + 5 * DAY_US)
    document = invoice_document(books.shop, books.bill("2026-11", early=True, clock_checked=True).number)
    (line,) = document["lines"]
    assert (line["units"], line["requests"], line["late"]) == (2 + 4 + 4 + 8, 4, 1), "a day back is November's own, a month back is late"
    refused("usage-none", lambda: books.bill("2026-12", early=True, clock_checked=True))
    year_before = invoice_document(books.shop, books.bill("2025-10", clock_checked=True).number)
    assert [line["units"] for line in year_before["lines"]] == [4], "a month that was never billed keeps its rows"
    assert len(stood(books.shop)) == len(set(stood(books.shop))) == 6 and books.shop.verify() == []


@pytest.mark.parametrize("text", ["Europe/Berlin", "CET", "+25:00", "+15", "+14:01", "8", "+08:60", "+08:00:30", "+08:10", "夏令时"])
def test_a_zone_with_summer_time_is_no_offset(text: str, books: Desk) -> None:
    for language in ("en", "zh"):
        done = Inside(books.shop.path.parent, language).type("settings", "utc-offset", text, status=None)
        assert done.status != 0 and done.code != "internal", (text, done)
    assert books.shop.again().settings.get("utc_offset", "+08:00") == "+08:00"
