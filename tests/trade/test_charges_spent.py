"""What was charged once is gone: a prepaid customer cannot spend it on calls, whichever way it was charged and billed or not."""

from __future__ import annotations

import pytest

from mofang.core.action import Act, rehearse
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import credit_note, customer_limit, customer_new, customers
from mofang.trade.accounts.standing import standing
from mofang.trade.billing.balance import Balance, at_servers, balance_of, usage_report
from mofang.trade.billing.oneoff import KINDS, Kind, charge
from mofang.trade.billing.paid import pay
from mofang.trade.billing.spendable import lacking, spendable
from mofang.trade.pricing.ways import by_way
from tests.trade.bookkeeping import DAY_US, NAME, Desk, books

__all__ = ["books"]
YUAN = 1_000_000


@pytest.fixture
def clocked(books: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("mofang.trade.billing.spendable.now_us", books.clock)
    return books


def at(books: Desk) -> Balance:
    return balance_of(books.shop.control, books.account, books.clock.at_us)


def charged(shop: Shop, yuan: int, kind: Kind = "lease", reference: str = "run_1") -> None:
    charge(Act(shop, shop.actor), NAME, kind, f"a {kind}", yuan * YUAN, "CNY", reference)


@pytest.mark.parametrize("kind", KINDS)
def test_prepaid_money_is_spent_once(clocked: Desk, kind: Kind) -> None:
    books, shop = clocked, clocked.shop
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


def test_a_charge_counts_against_the_credit_of_its_month(clocked: Desk) -> None:
    books, shop = clocked, clocked.shop
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


def test_the_same_on_every_database(any_shop: Shop) -> None:
    """Balance, the customer's own view, what each way earned, and a mistake that is said before the question."""
    shop = any_shop
    account = shop.act(customer_new, name=NAME, credit="0").id
    shop.act(pay, customer=NAME, amount="100", reference="bank 1")
    charged(shop, 60)
    with shop.control.transaction():
        shop.journals.append("usage", [NewRow("draw", {"micros": 10 * YUAN, "expires_us": now_us() + DAY_US}, account=account)])
        order = NewRow("draw", {"micros": 5 * YUAN, "expires_us": now_us() + DAY_US}, account=account)
        shop.journals.append("usage", [order], writer="custom-1")
    found = balance_of(shop.control, account, now_us())
    assert (found.available, found.left, found.charged_month) == (25 * YUAN, 40 * YUAN, 60 * YUAN)
    assert at_servers(shop.control, account) == 10 * YUAN, "what an order holds back is not there for calls"
    told = usage_report(shop.control, customers(shop.control)[0], now_us())
    assert (told["charged"], told["available"], told["prepaid"]) == ("60", "35", "100")
    assert standing(shop, NAME)["held_micros"] == 5 * YUAN
    assert [(one.way, one.earned) for one in by_way(shop)] == [("lease", 60 * YUAN)]
    with pytest.raises(MofangError) as refusal:
        rehearse(shop, credit_note, customer=NAME, amount="1", reason="nothing was used")
    assert refusal.value.code == "credit-note-too-large"
    before = shop.journals.position("customers")
    rehearse(shop, customer_limit, customer=NAME, credit="7")
    assert shop.journals.position("customers") == before and customers(shop.control)[0].credit_micros == 0
    assert lacking(shop, account, 30 * YUAN) == 5 * YUAN
    assert shop.journals.verify() == []
