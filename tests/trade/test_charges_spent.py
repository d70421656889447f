"""What was charged once is gone: a prepaid customer cannot spend it on calls, whichever way it was charged and billed or not."""

from __future__ import annotations

import pytest

from mofang.core.action import Act
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_limit
from mofang.trade.billing.balance import Balance, balance_of
from mofang.trade.billing.oneoff import KINDS, Kind, charge
from mofang.trade.billing.paid import pay
from mofang.trade.billing.spendable import spendable
from tests.trade.bookkeeping import DAY_US, NAME, Desk, books

__all__ = ["books"]
YUAN = 1_000_000


@pytest.fixture(autouse=True)
def clocked(books: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofang.trade.billing.spendable.now_us", books.clock)


def at(books: Desk) -> Balance:
    return balance_of(books.shop.control, books.account, books.clock.at_us)


def charged(shop: Shop, yuan: int, kind: Kind = "lease", reference: str = "run_1") -> None:
    charge(Act(shop, shop.actor), NAME, kind, f"a {kind}", yuan * YUAN, "CNY", reference)


@pytest.mark.parametrize("kind", KINDS)
def test_prepaid_money_is_spent_once(books: Desk, kind: Kind) -> None:
    shop = books.shop
    shop.act(customer_limit, customer=NAME, credit="0")
    shop.act(pay, customer=NAME, amount="100", reference="bank 1")
    charged(shop, 60, kind)
    assert (at(books).available, at(books).prepaid, at(books).left) == (40 * YUAN, 100 * YUAN, 40 * YUAN)
    charged(shop, 60, kind)  # the same reference is the same charge
    assert at(books).available == spendable(shop, shop.control, books.account) == 40 * YUAN
    bill = books.bill("2026-10", early=True)
    assert bill.total_micros == 60 * YUAN
    assert at(books).available == 40 * YUAN, "the bill takes nothing a second time"
    books.clock.at_us += 40 * DAY_US
    assert (at(books).available, at(books).prepaid) == (40 * YUAN, 40 * YUAN), "nor does the next month give it back"


def test_a_charge_counts_against_the_credit_of_its_month(books: Desk) -> None:
    shop = books.shop
    shop.act(customer_limit, customer=NAME, credit="100")
    charged(shop, 130)
    assert at(books).available == -30 * YUAN and spendable(shop, shop.control, books.account) == 0
    books.bill("2026-10", early=True)
    assert at(books).available == -30 * YUAN, "billing early does not renew the credit"
    books.clock.at_us += 40 * DAY_US
    assert at(books).available == 100 * YUAN, "the next month's credit is new, and what is owed stays owed"
    assert at(books).left == -130 * YUAN
    shop.act(pay, customer=NAME, amount="150", reference="bank 2")
    assert (at(books).prepaid, at(books).available) == (20 * YUAN, 120 * YUAN)
