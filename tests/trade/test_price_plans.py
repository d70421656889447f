"""Tiers, volume, packages, included units, minimums, subscriptions, discounts, tax, charges made once: to the last micro."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.money import PER_UNITS
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe, customer_unsubscribe, percent
from mofang.trade.accounts.customers import customer_limit
from mofang.trade.accounts.terms import Subscription
from mofang.trade.billing.amounts import share
from mofang.trade.billing.issuing import invoice_document, invoice_preview, invoices_of, remake
from mofang.trade.billing.oneoff import charge, oneoffs
from mofang.trade.billing.page import render
from mofang.trade.billing.proofs import check_proof, line_rows, prove_row, trace_line
from mofang.trade.pricing.plans import cost, read_plan, read_tiers, steps_of
from mofang.trade.pricing.prices import price_set, prices
from tests.trade.bookkeeping import DECEMBER, NAME, NOVEMBER, Desk, balance, books, refused, reprice

__all__ = ["books"]
TIERS = "0-1000:2.00, 1000-10000:1.50; 10000-:1.00"


def lines_of(books: Desk, month: str = "2026-11", **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = invoice_document(books.shop, books.bill(month, early=True, **more).number)["lines"]
    return found


@pytest.mark.parametrize(("plan", "units", "micros"), [
    ({"tiers": TIERS}, 1000, 2_000_000_000), ({"tiers": TIERS}, 1001, 2_001_500_000),
    ({"tiers": TIERS}, 12_000, 2_000_000_000 + 9000 * 1_500_000 + 2000 * 1_000_000),
    ({"volume": TIERS}, 1000, 2_000_000_000), ({"volume": TIERS}, 1001, 1_501_500_000), ({"volume": TIERS}, 0, 0),
    ({"package": "1000:5.00"}, 1, 5_000_000), ({"package": "1000:5.00"}, 1000, 5_000_000), ({"package": "1000:5.00"}, 1001, 10_000_000),
    ({"price": "0.01", "included": 100}, 100, 0), ({"price": "0.01", "included": 100}, 103, 30_000),
    ({"tiers": "0-10:1, 10-:0", "included": 5}, 30, 10_000_000),
])
def test_what_a_month_comes_to(plan: dict[str, Any], units: int, micros: int) -> None:
    rate, read = read_plan("CNY", **plan)
    assert cost(read, rate, units) == micros * PER_UNITS
    assert sum(one.get("units", 0) + one.get("included", 0) for one in steps_of(read, rate, 0, units, 0, units)
               if "packages" not in one) in (units, 0 if "package" in plan else units)


@pytest.mark.parametrize(("text", "code"), [
    ("0-1000:2.00, 1001-:1.50", "tiers-gap"), ("5-:1", "tiers-gap"), ("0-10:1", "tiers-gap"), ("0-10:1, 5-:2", "tiers-overlap"),
    ("0-:1, 10-:2", "tiers-overlap"), ("0-10:-1, 10-:2", "amount-negative"), ("0-10:$1, 10-:2", "currency-other"), ("ten", "tiers-unreadable"),
    ("0-0:1, 0-:2", "tiers-unreadable"), ("0-10:1/3, 10-:1", "price-inexact"), ("", "tiers-unreadable"), ("0-10:1e3,10-:1", "amount-unreadable"),
])
def test_tiers_that_do_not_fit_are_refused(books: Desk, text: str, code: str) -> None:
    before = prices(books.shop.control)
    refused(code if text else "price-kinds", lambda: books.shop.act(price_set, model="reviews", tiers=text))
    if text:
        refused(code, lambda: read_tiers(text, "CNY"))
    assert prices(books.shop.control) == before and books.shop.journals.verify() == []


def test_one_form_at_a_time(books: Desk) -> None:
    for plan in ({"price": "1", "tiers": TIERS}, {}, {"package": "10:1", "volume": TIERS}):
        refused("price-kinds", lambda plan=plan: books.shop.act(price_set, model="reviews", **plan))  # type: ignore[misc]
    refused("price-package-unreadable", lambda: books.shop.act(price_set, model="reviews", package="0:5"))
    refused("amount-negative", lambda: books.shop.act(price_set, model="reviews", price="1", minimum="-5"))


def test_tiers_go_over_all_versions_of_a_model_and_the_balance_gets_the_difference_back(books: Desk) -> None:
    price = reprice(books, tiers="0-1000:0.002, 1000-:0.001")
    assert price.rate == 2_000 * PER_UNITS, "the meter holds back the dearest"
    books.use(700, model="reviews@1", at_us=NOVEMBER)
    books.use(800, model="reviews@2")
    lines = lines_of(books)
    assert [(line["kind"], line["model"], line["exact_micros"], line["metered_micros"]) for line in lines] == [
        ("usage", "reviews@1", 1_400_000, 1_400_000), ("usage", "reviews@2", 300 * 2000 + 500 * 1000, 1_600_000)]
    assert [one["units"] for one in lines[1]["steps"]] == [300, 500]
    number = invoices_of(books.shop.control)[-1].number
    assert remake(books.shop, number) == {"invoice.json": True, "invoice.pdf": True}
    assert balance(books) == -2_500_000, "owed is what was billed, not what was held back"
    rows = list(line_rows(books.shop, number, 2))
    assert [row.body["units"] for row in rows] == [800] and check_proof(prove_row(books.shop, number, 2, rows[0].id))
    assert books.shop.verify() == []


def test_a_whole_bill_of_everything(books: Desk) -> None:
    shop = books.shop
    reprice(books, tiers="0-1000:0.01, 1000-:0.005", minimum="50")
    shop.act(customer_agree, customer=NAME, discount="10%", tax="6%", tax_name="增值税", minimum="400")
    shop.act(customer_subscribe, customer=NAME, model="digits", monthly="300", included=1000, starts="2026-11-16")
    books.use(2000, at_us=NOVEMBER)  # 1000 × 0.01 + 1000 × 0.005 = 15, below the model's minimum of 50
    books.use(600, model="digits@1")  # 500 of them are in the half month's subscription
    from mofang.core.action import Act

    charge(Act(shop, shop.actor), NAME, "lease", "reviews@1 until 2027-06-30", 20_000_000, "CNY", "run_lease")
    lines = lines_of(books)
    assert [(line["kind"], line["amount_micros"]) for line in lines] == [
        ("usage", 30_000), ("usage", 15_000_000), ("subscription", 150_000_000), ("minimum", 35_000_000),
        ("discount", -20_000_000), ("minimum", 219_970_000), ("lease", 20_000_000), ("tax", 25_200_000)]
    assert lines[0]["exact_micros"] == 100 * 333 and (lines[2]["days"], lines[2]["days_of"]) == (15, 30)
    claim = invoices_of(shop.control)[-1]
    document = invoice_document(shop, claim.number)
    assert document["total_micros"] == sum(line["amount_micros"] for line in lines) == 445_200_000 == -balance(books)
    assert document["rounding_micros"] == document["total_micros"] - document["exact_micros"] == -3_300
    assert remake(shop, claim.number)["invoice.json"]
    for language in ("zh", "en"):
        assert render(document, language).startswith(b"%PDF-")  # type: ignore[arg-type]
    assert [node.stage for node in trace_line(shop, claim.number, 7).below[0].below] == ["delivered"]
    assert trace_line(shop, claim.number, 8).below[0].facts["rate_ppm"] == 60_000
    books.use(1, at_us=DECEMBER)
    assert [line["kind"] for line in lines_of(books, "2026-12")] == ["usage", "subscription", "minimum", "discount", "minimum", "tax"]
    assert shop.verify() == []


def test_a_charge_made_once_is_on_one_bill(books: Desk) -> None:
    from mofang.core.action import Act

    act = Act(books.shop, books.shop.actor)
    first = charge(act, NAME, "solution", "hotel bundle", 5_000_000, "CNY", "run_1")
    assert charge(act, NAME, "solution", "hotel bundle", 5_000_000, "CNY", "run_1").repeated
    refused("charge-differs", lambda: charge(act, NAME, "solution", "x", 6_000_000, "CNY", "run_1"))
    refused("charge-amount", lambda: charge(act, NAME, "lease", "x", 1, "CNY", "run_2"))
    refused("charge-amount", lambda: charge(act, NAME, "lease", "x", -10_000, "CNY", "run_2"))
    refused("currency-other", lambda: charge(act, NAME, "lease", "x", 10_000, "USD", "run_2"))
    refused("charge-kind", lambda: charge(act, NAME, "gift", "x", 10_000, "CNY", "run_2"))  # type: ignore[arg-type]
    assert [one.id for one in oneoffs(books.shop.control)] == [first.id]
    shown = invoice_preview(books.shop, NAME, "2026-10")[0]
    assert [line["charge"] for line in shown["lines"]] == [first.id], "a bill needs no use"
    assert [line["charge"] for line in lines_of(books, "2026-10")] == [first.id]
    refused("usage-none", lambda: books.bill("2026-11", early=True))
    books.clock.at_us = NOVEMBER
    second = charge(act, NAME, "other", "on-site day", 1_000_000, "CNY", "", reference="day 1")
    assert [line["charge"] for line in lines_of(books)] == [second.id]


def test_a_plan_is_sold_on_credit_only(books: Desk) -> None:
    from mofang.trade.accounts.customers import find_customer
    from mofang.trade.pricing.prices import require_credit

    price = reprice(books, package="1000:5.00")
    who = find_customer(books.shop.control, NAME)
    require_credit(price, who)
    books.shop.act(customer_limit, customer=NAME, credit="0")
    refused("price-needs-postpaid", lambda: require_credit(price, find_customer(books.shop.control, NAME)))


def test_subscriptions_by_the_day(books: Desk) -> None:
    one = Subscription("s", "a", "m", 29_000_000, 2900, "2028-02-10", "2028-02-29")
    assert one.in_month("2028-02", "CNY") == (20_000_000, 2000, 20, 29), "a leap February"
    assert one.in_month("2028-03", "CNY")[2] == 0 == one.in_month("2028-01", "CNY")[2]
    shop = books.shop
    made = shop.act(customer_subscribe, customer=NAME, model="reviews@3", monthly="¥200", included=10)
    assert (made.model, made.first) == ("reviews", "2026-10-02")
    refused("subscription-exists", lambda: shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="1", starts="2026-12-01"))
    refused("subscription-days", lambda: shop.act(customer_unsubscribe, customer=NAME, model="reviews", ends="2026-10-01"))
    assert shop.act(customer_unsubscribe, customer=NAME, model="reviews", ends="2026-10-11").last == "2026-10-11"
    refused("subscription-none", lambda: shop.act(customer_unsubscribe, customer=NAME, model="reviews", ends="2026-12-11"))
    refused("moment-unreadable", lambda: shop.act(customer_subscribe, customer=NAME, model="x", monthly="1", starts="2026-02-30"))
    books.use(30, at_us=NOVEMBER - 10)
    lines = lines_of(books, "2026-10")
    assert [(line["kind"], line["amount_micros"]) for line in lines] == [("usage", 140_000), ("subscription", 64_520_000)]
    assert lines[0]["steps"] == [{"included": 3}, {"units": 27, "rate": 5_000_000_000}]


@given(st.integers(0, 10**12), st.integers(0, 10**6), st.sampled_from(["CNY", "JPY", "USD"]))
def test_a_share_is_rounded_once_half_to_even(micros: int, ppm: int, currency: str) -> None:
    minor = 1_000_000 if currency == "JPY" else 10_000
    exact = Fraction(micros * ppm, 10**6)
    found = share(micros, ppm, currency)
    assert found % minor == 0 and abs(found - exact) * 2 <= minor
    assert found == round(exact / minor) * minor  # Python rounds a fraction half to even


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 10**9)), min_size=1, max_size=5), st.integers(0, 3000),
       st.integers(0, 300), st.integers(0, 10))
def test_parts_of_a_month_sum_to_the_whole(tiers: list[tuple[int, int]], units: int, free: int, cuts: int) -> None:
    steps: list[list[int | None]] = []
    at = 0
    for size, rate in tiers[:-1]:
        steps.append([at, at + size, rate])
        at += size
    steps.append([at, None, tiers[-1][1]])
    for kind in ("graduated", "volume"):
        plan = {"kind": kind, "tiers": steps}
        ends = sorted({units * n // (cuts + 1) for n in range(cuts + 2)})
        parts = [cost(plan, 0, high, free, units) - cost(plan, 0, low, free, units) for low, high in zip(ends, ends[1:], strict=False)]
        assert sum(parts) == cost(plan, 0, units, free, units) and all(part >= 0 for part in parts)
        assert cost(plan, 0, units, free, units) <= units * max(rate for _, rate in tiers), "never beyond what the meter holds back"


@pytest.mark.parametrize(("text", "ppm"), [("6%", 60_000), ("13", 130_000), ("8.875 %", 88_750), ("0", 0), ("100％", 1_000_000)])
def test_percent(text: str, ppm: int) -> None:
    assert percent(text) == ppm


@pytest.mark.parametrize("text", ["101", "-1", "6.00001", "six", "", "1e1"])
def test_no_percent(text: str) -> None:
    with pytest.raises(MofangError, match="percentage"):
        percent(text)


def test_the_fields_of_a_tax_invoice_sum_to_the_bill_and_its_number_comes_back(books: Desk) -> None:
    from mofang.trade.billing.fapiao import fapiao_buyer, fapiao_record, fapiao_rows, number_of

    shop = books.shop
    shop.act(customer_agree, customer=NAME, discount="5%", tax="13%")
    shop.act(fapiao_buyer, customer=NAME, title="艾可美有限公司", tax_id="91310000MA1FL0000X")
    books.use(333, at_us=NOVEMBER)
    books.use(777, model="digits@1")
    number = books.bill("2026-11", early=True).number
    rows = fapiao_rows(shop, "2026-11")
    assert {row["title"] for row in rows} == {"艾可美有限公司"} and len(rows) == 3
    total = sum(Fraction(row["total"]) for row in rows)
    assert total * 10**6 == invoice_document(shop, number)["total_micros"] and fapiao_rows(shop, "2026-10") == []
    assert not shop.act(fapiao_record, invoice=number, number="25312000000012345678").repeated
    assert shop.act(fapiao_record, invoice=number, number="25312000000012345678").repeated
    refused("fapiao-differs", lambda: shop.act(fapiao_record, invoice=number, number="25312000000099999999"))
    shop.act(fapiao_record, invoice=number, number="25312000000099999999", replaces="25312000000012345678")
    assert number_of(shop.control, number) == "25312000000099999999"
    books.use(5, at_us=DECEMBER)
    other = books.bill("2026-12", early=True).number
    refused("fapiao-taken", lambda: shop.act(fapiao_record, invoice=other, number="25312000000099999999"))
    assert shop.journals.verify() == []


def test_money_that_ends_sooner_is_used_first_and_the_rest_lapses_once(books: Desk) -> None:
    from mofang.core.journal import Journals
    from mofang.trade.billing.paid import lapse, lapse_due, pay, payments
    from mofang.trade.request.meter import Meter

    shop = books.shop
    for amount, reference, until in (("10", "ends", "2026-10-20"), ("4", "ends later", "2026-12-31"), ("3", "stays", "")):
        shop.act(pay, customer=NAME, amount=amount, reference=reference, until=until)
    refused("payment-until", lambda: shop.act(pay, customer=NAME, amount="1", reference="x", until="2026-10-01"))
    refused("payment-until", lambda: shop.act(pay, customer=NAME, amount="1", reference="x", until="2026-02-30"))
    books.use(1200)  # ¥6 of the ¥10 that end first
    books.clock.at_us = NOVEMBER
    assert lapse(shop) == 1 and lapse(shop) == 0
    assert {one.reference: one.lapsed_micros for one in payments(shop.control)} == {"ends": 4_000_000, "ends later": 0, "stays": 0}
    assert balance(books) == 7_000_000
    books.use(1000)  # ¥5: the 4 that end later, and 1 that stays
    assert lapse_due(Journals(shop.control), "2027-01-01") == 1 and balance(books) == 2_000_000
    shop.act(pay, customer=NAME, amount="9", reference="short", until="2026-11-30")
    meter = Meter(shop.control.again())
    meter._return_and_forget()  # a server does it every few seconds; by its own clock November is not over
    assert balance(books) == 11_000_000
    meter.close()
    assert shop.journals.verify() == []
