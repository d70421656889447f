"""The file of what a customer used: any days, whatever order the rows came in, and never a day with a row less than was charged."""

from __future__ import annotations

import csv
from collections import Counter
from random import Random

import pytest

from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new, find_customer
from mofang.trade.billing import usage_file as files
from mofang.trade.billing.usage_file import read_days, usage_file
from tests.trade.test_invoices import DAY_US, NOVEMBER, Clock, Desk, clock, refused

__all__ = ["clock"]  # a fixture


def rows_of(desk: Desk, first: str, last: str) -> list[dict[str, str]]:
    who = find_customer(desk.shop.control, desk.account)
    text = "".join(usage_file(desk.shop.control, who, read_days("", first, last)))
    assert text.endswith("\r\n")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def used(any_shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A month of use by three keys and another customer's between it, read some rows at a time."""
    monkeypatch.setattr(files, "PIECE", 7)
    desk, chance = Desk(any_shop, clock), Random(3)
    other = any_shop.act(customer_new, name="Other").id
    for day in range(30):
        for number in range(chance.randrange(4)):
            at_us = NOVEMBER + day * DAY_US + number * 3_600_000_000
            desk.use(*(chance.randrange(1, 9) for _ in range(3)), model=f"{chance.choice(['reviews', 'digits'])}@1", at_us=at_us,
                     key=f"k{number}", tokens_in=2, tokens_out=1)
        desk.use(5, account=other, at_us=NOVEMBER + day * DAY_US)
    return desk


def test_any_days_sum_to_the_month(used: Desk) -> None:
    whole = rows_of(used, "2026-11-01", "2026-11-30")
    parts = [row for first, last in (("01", "09"), ("10", "10"), ("11", "30")) for row in rows_of(used, f"2026-11-{first}", f"2026-11-{last}")]
    assert whole == parts and whole == sorted(whole, key=lambda row: (row["day"], row["key"], row["model"]))
    sql = "select day, model, requests, units from usage_day where account=? order by day, model"
    folded = used.shop.control.rows(sql, (used.account,))
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in whole:
        for name in ("requests", "units"):
            counted[row["day"], row["model"], name] += int(row[name])
        assert int(row["tokens_in"]) == 2 * int(row["requests"]) == 2 * int(row["tokens_out"])
    assert counted == {(day, model, name): int(count) for day, model, *both in folded for name, count in zip(("requests", "units"), both, strict=True)}


def test_rows_far_out_of_order_are_in_their_days(used: Desk) -> None:
    before = rows_of(used, "2026-11-03", "2026-11-05")
    used.use(1, key="late", at_us=NOVEMBER + 3 * DAY_US)  # a clock that went back by weeks, and one that ran ahead
    used.use(1, key="ahead", at_us=NOVEMBER + 300 * DAY_US)
    used.use(*[1] * 20, key="after", at_us=NOVEMBER + 29 * DAY_US)
    after = rows_of(used, "2026-11-03", "2026-11-05")
    assert [row for row in after if row["key"] != "late"] == before and [row["day"] for row in after if row["key"] == "late"] == ["2026-11-04"]
    assert [row["requests"] for row in rows_of(used, "2026-11-30", "2026-11-30") if row["key"] == "after"] == ["20"]


def test_little_is_read_of_a_long_journal(used: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    walked = files._walk
    monkeypatch.setattr(files, "_walk", lambda *given: (read.append(1) for _ in walked(*given)))
    assert rows_of(used, "2026-11-28", "2026-11-30")
    assert len(read) <= 4, "pieces of seven rows"


def test_a_table_that_counts_more_than_the_journal_is_no_file(used: Desk) -> None:
    with used.shop.control.transaction():
        used.shop.control.run("update usage_day set requests=requests+1 where day='2026-11-08'")
    with pytest.raises(AssertionError, match="2026-11-"):
        rows_of(used, "2026-11-01", "2026-11-30")


@pytest.mark.parametrize(("month", "first", "last"), [
    ("2026-13", "", ""), ("2026-11-01", "", ""), ("11", "", ""), ("2026-11", "2026-11-01", ""), ("２０２６-11", "", ""), ("", "2026-02-30", ""),
    ("", "20261101", ""), ("", "2026-11-02", "2026-11-01"), ("", "2025-01-01", "2026-11-01"), ("", "'; drop table journal", ""), ("", "", "9999-99-99"),
    ("0001-01", "", ""), ("", "-001-01-01", "2026-01-01"), ("2026-11\n", "", "")])
def test_what_are_no_days(month: str, first: str, last: str) -> None:
    assert refused("query-wrong", lambda: read_days(month, first, last)).status == 400


def test_days_that_are_not_named() -> None:
    assert read_days("2024-02") == files.Days("2024-02-01", "2024-02-29") and read_days("2026-12").last == "2026-12-31"
    assert read_days("", "", "2026-11-07") == files.Days("2026-11-01", "2026-11-07")
    assert read_days().first[8:] == "01"
