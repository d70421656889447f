"""What the tests of bills share: a clock set by hand, and a desk that uses a model as the meter writes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mofang.core.shop import Shop
from mofang.trade.billing.balance import balance_of
from mofang.trade.pricing.prices import Price, price_set
from tests.trade.test_invoices import DAY_US, DECEMBER, NOVEMBER, OCTOBER, Clock, Desk, refused

NAME = "Acme 艾可美"
CLOCKED = ("core.journal", "trade.billing.issuing", "trade.pricing.prices", "trade.accounts.agreed", "trade.billing.paid", "trade.accounts.standing")


@pytest.fixture
def books(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A shop with one customer and two priced models, at the beginning of October."""
    clock = Clock(OCTOBER + DAY_US)
    for module in CLOCKED:
        monkeypatch.setattr(f"mofang.{module}.now_us", clock)
    monkeypatch.setattr("mofang.trade.billing.issuing.behind_us", lambda *_: 0)
    yield Desk(shop, clock)


def reprice(books: Desk, model: str = "reviews", **plan: object) -> Price:
    """Another price, which later use goes by."""
    made: Price = books.shop.act(price_set, model=model, **plan)
    books.prices[model] = made
    return made


def balance(books: Desk) -> int:
    """What was paid less what was used and billed, in micros."""
    found = balance_of(books.shop.control, books.account, books.clock.at_us)
    return found.left


__all__ = ["DAY_US", "DECEMBER", "NAME", "NOVEMBER", "OCTOBER", "Desk", "balance", "books", "refused", "reprice"]
