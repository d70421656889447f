"""Faults of money that users of other billing systems reported (research on serving, section 6), each as a test of ours.

The faults of requests stand in ``test_billing_faults.py``; together they are seventeen, and a test here counts them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mofang.trade.accounts.agreed import customer_agree, customer_subscribe, customer_unsubscribe
from mofang.trade.accounts.customers import customer_new
from mofang.trade.billing.issuing import invoice_document, invoice_issue, invoices_of, remake
from mofang.trade.billing.paid import pay, payments
from mofang.trade.pricing.prices import price_set
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import CLAIM_S, send_all
from tests.trade.bookkeeping import DAY_US, DECEMBER, NAME, NOVEMBER, Desk, balance, books, refused, reprice
from tests.trade.test_outbox_posts import Double, double, later, told

__all__ = ["books", "double"]
HERE = Path(__file__).parent
SIX = """
import os, sys
from pathlib import Path
from mofang.core.shop import Shop
from mofang.trade.billing.issuing import invoice_issue

starting, gate = os.pipe()
children = []
for _ in range(6):
    if child := os.fork():
        children.append(child)
        continue
    status = 1
    try:
        os.close(gate)
        shop = Shop.open(Path(sys.argv[1]))
        os.read(starting, 1)
        shop.act(invoice_issue, customer=sys.argv[2], period="2026-11", early=True, clock_checked=True)
        status = 0
    finally:
        os._exit(status)
os.close(gate)  # at this all six wake up
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_seventeen_faults_have_seventeen_names() -> None:
    """So that none is lost where files are put in order."""
    named = {int(number) for name in ("test_billing_faults.py", "test_money_faults.py")
             for number in re.findall(r"^def test_(?:fault_)?(\d\d)_", (HERE / name).read_text(encoding="utf-8"), re.M)}
    assert named == set(range(1, 18))


def test_fault_07_a_price_changed_in_place_corrupts_the_past(books: Desk) -> None:
    books.use(1000, at_us=NOVEMBER)
    first = books.bill("2026-11", early=True)
    before = invoice_document(books.shop, first.number)
    reprice(books, tiers="0-10:9, 10-:8")
    assert invoice_document(books.shop, first.number) == before and remake(books.shop, first.number)["invoice.json"]
    assert balance(books) == -5_000_000


def test_fault_11_a_top_up_repeated_credits_twice(books: Desk) -> None:
    for _ in range(3):
        books.shop.act(pay, customer=NAME, amount="5", reference="bank 1", by="alipay")
    refused("top-up-differs", lambda: books.shop.act(pay, customer=NAME, amount="6", reference="bank 1"))
    assert len(payments(books.shop.control)) == 1 and balance(books) == 5_000_000


def test_fault_12_the_same_period_is_invoiced_again_after_a_plan_changed(books: Desk) -> None:
    books.use(1000, at_us=NOVEMBER)
    first = books.bill("2026-11", early=True)
    books.shop.act(customer_agree, customer=NAME, tax="6%", minimum="100")
    books.use(1000)
    assert books.bill("2026-11", early=True) == first and len(invoices_of(books.shop.control)) == 1


def test_fault_13_six_workers_make_six_invoices(books: Desk) -> None:
    """Six processes that begin at the same moment; each looks first whether the bill is there, and none sees it."""
    books.use(1, 2, 3, at_us=NOVEMBER)
    books.clock.at_us = DECEMBER + 1
    told = subprocess.run([sys.executable, "-c", SIX, str(books.shop.path), NAME], capture_output=True, text=True, timeout=120, check=False)
    assert told.stdout.split() == ["0"] * 6, told.stderr
    assert [one.number for one in invoices_of(books.shop.control)] == ["INV-2026-11-0001"]
    assert sorted(row.kind for row in books.shop.journals.rows("invoices")) == ["claimed", "issued"]
    assert books.shop.verify() == []


def test_fault_15_what_ended_nobody_knows_how_is_done_again(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try whose outcome is unknown belongs to who began it: nobody else tries meanwhile, and later it is the same try, not another."""
    shop = books.shop
    told(shop, double, "stripe")
    books.use(1000, at_us=NOVEMBER)
    books.bill("2026-11", early=True)
    monkeypatch.setattr("mofang.trade.telling.posting.now_us", books.clock)

    def cut(*given: Any) -> str:
        """It arrives and is done there; nobody here ever hears of it."""
        post(*given)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_all(shop, cut)
    done = len(double.by_key)
    assert done == 4 and send_all(shop.again(), post) == [] and len(double.asked) == 4, "unknown: nobody begins anew"
    later(monkeypatch, CLAIM_S + 1)
    assert [one.ok for one in send_all(shop, post)] == [True]
    assert len(double.by_key) == done, "each step again under its own key, so that nothing new was made there"
    for _ in range(2):  # the first one settles after all, and is heard of twice
        shop.act(pay, customer=NAME, amount="5", reference="in_1", by="stripe")
    assert len(payments(shop.control)) == 1


def test_fault_15_a_plan_changes_on_any_day_and_no_day_is_charged_twice(books: Desk) -> None:
    """The guard against double billing at Kill Bill forbade a second change on a day. Here the next plan begins the day after."""
    shop = books.shop
    shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="31", included=10)
    shop.act(customer_unsubscribe, customer=NAME, model="reviews")  # on the second of October, its first day and its last
    error = refused("subscription-until", lambda: shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="62"))
    assert error.values["next"] == "2026-10-03"
    shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="62", included=31, starts=error.values["next"], ends="2026-10-03")
    shop.act(customer_subscribe, customer=NAME, model="reviews", monthly="93", starts="2026-10-04")
    books.use(5)
    document = invoice_document(shop, books.bill("2026-10", early=True).number)
    fees = [line["amount_micros"] for line in document["lines"] if line["kind"] == "subscription"]
    assert sorted(fees) == [1_000_000, 2_000_000, 28 * 3_000_000], "one day, one day, and the twenty-eight that are left"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, books: Desk) -> Iterator[Any]:
    """Sets the clock of what is sent, and of how long the other side remembers."""

    def put(at_us: int) -> None:
        for module in ("sending", "posting"):
            monkeypatch.setattr(f"mofang.trade.telling.{module}.now_us", lambda: at_us)

    yield put


@pytest.mark.parametrize("gap_us", [3600 * 10**6, DAY_US + 3600 * 10**6])
def test_fault_16_another_systems_memory_ends_sooner_than_ours(books: Desk, double: Double, at: Any, gap_us: int) -> None:
    """Within the day the same keys; later, when they are forgotten there, what was begun is looked for before anything is made."""
    shop = books.shop
    told(shop, double, "stripe")
    books.use(1000, at_us=NOVEMBER)
    books.bill("2026-11", early=True)
    began = books.clock.at_us
    at(began)
    double.answers = [200, 200, 200, 0]  # cut at the last step: customer, invoice and line are made
    assert [one.ok for one in send_all(shop, post)] == [False]
    made = dict(double.by_key)
    assert len(made) == 3, "customer, invoice and line are there"
    at(began + gap_us)
    if gap_us > DAY_US:  # "at least 24 hours", say its documents
        double.found = [{"id": "in_1", "status": "draft"}]
        double.by_key.clear()
    asked = len(double.asked)
    assert [one.ok for one in send_all(shop, post)] == [True]
    again = [path for path, _, _ in double.asked[asked:]]
    if gap_us < DAY_US:
        assert len(double.by_key) == 4 and made.items() <= double.by_key.items() and not any("search" in path for path in again), "found again by their keys"
    else:
        assert "search" in again[0] and again[1] == "DELETE /v1/invoices/in_1", "what was begun goes before it is made anew"
        assert not set(double.by_key) & set(made), "and under keys that the other side cannot mix up"
    assert sum(path == "/v1/invoices" for path in again) == 1


@pytest.mark.parametrize(("currency", "tax", "total"), [("JPY", "10%", 3_000_000), ("USD", "8.875%", 3_630_000), ("CNY", "6%", 3_530_000)])
def test_in_other_currencies_and_with_tax_a_bill_is_the_sum_to_the_last_micro(books: Desk, currency: str, tax: str, total: int) -> None:
    shop = books.shop
    account = shop.act(customer_new, name="Other", currency=currency).id
    books.prices["words"] = shop.act(price_set, model="words", price="3.33/1000", currency=currency)
    books.use(*[7] * 143, model="words@1", account=account, at_us=NOVEMBER)
    shop.act(customer_agree, customer="Other", tax=tax)
    books.clock.at_us = DECEMBER
    document = invoice_document(shop, shop.act(invoice_issue, customer="Other", period="2026-11").number)
    use = document["lines"][0]
    assert Fraction(1001 * 3_330_000_000, 10**6) - use["exact_micros"] < 1, "the carried part of a micro"
    assert document["total_micros"] == sum(line["amount_micros"] for line in document["lines"]) == total
    assert document["exact_micros"] + document["rounding_micros"] == total and document["currency"] == currency
