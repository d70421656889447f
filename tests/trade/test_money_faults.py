"""Faults of money that users of other billing systems reported (research on serving, section 6), each as a test of ours.

Six workers make six invoices (13): ``test_invoices.test_eight_threads_make_one_invoice``. Stripe forgets an idempotency key after
a day (16): ``test_outbox_posts.test_where_stripe_has_forgotten_the_keys_it_is_asked_first``. The faults of requests stand elsewhere.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from mofang.trade.accounts.agreed import customer_agree
from mofang.trade.accounts.customers import customer_new
from mofang.trade.billing.issuing import invoice_document, invoices_of, remake
from mofang.trade.billing.paid import pay, payments
from mofang.trade.pricing.prices import price_set
from tests.trade.bookkeeping import DECEMBER, NAME, NOVEMBER, Desk, balance, books, refused, reprice

__all__ = ["books"]


def test_fault_7_a_price_changed_in_place_corrupts_the_past(books: Desk) -> None:
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


@pytest.mark.parametrize(("currency", "tax", "total"), [("JPY", "10%", 3_000_000), ("USD", "8.875%", 3_630_000), ("CNY", "6%", 3_530_000)])
def test_in_other_currencies_and_with_tax_a_bill_is_the_sum_to_the_last_micro(books: Desk, currency: str, tax: str, total: int) -> None:
    shop = books.shop
    account = shop.act(customer_new, name="Other", currency=currency).id
    books.prices["words"] = shop.act(price_set, model="words", price="3.33/1000", currency=currency)
    books.use(*[7] * 143, model="words@1", account=account, at_us=NOVEMBER)
    shop.act(customer_agree, customer="Other", tax=tax)
    books.clock.at_us = DECEMBER
    from mofang.trade.billing.issuing import invoice_issue

    document = invoice_document(shop, shop.act(invoice_issue, customer="Other", period="2026-11").number)
    use = document["lines"][0]
    assert Fraction(1001 * 3_330_000_000, 10**6) - use["exact_micros"] < 1, "the carried part of a micro"
    assert document["total_micros"] == sum(line["amount_micros"] for line in document["lines"]) == total
    assert document["exact_micros"] + document["rounding_micros"] == total and document["currency"] == currency
