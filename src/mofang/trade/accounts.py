"""Lists for the faces: customers with their balances, keys, prices, invoices of a shop."""

from __future__ import annotations

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.balance import Balance, balance_of
from mofang.trade.billing import Claim, invoices_of
from mofang.trade.customers import Customer, customers
from mofang.trade.keys import Key, keys
from mofang.trade.prices import Price, prices


def accounts(shop: Shop) -> list[tuple[Customer, Balance]]:
    """All customers, each with where it stands now."""
    shop.journals.make_tables()
    at_us = now_us()
    return [(one, balance_of(shop.control, one.id, at_us)) for one in customers(shop.control)]


def customer_names(shop: Shop) -> dict[str, str]:
    """The name of each customer by its id."""
    shop.journals.make_tables()
    return {one.id: one.name for one in customers(shop.control)}


def all_keys(shop: Shop) -> list[Key]:
    """All keys, revoked ones too."""
    shop.journals.make_tables()
    return keys(shop.control)


def all_prices(shop: Shop) -> list[Price]:
    """All versions of all prices."""
    shop.journals.make_tables()
    return prices(shop.control)


def all_invoices(shop: Shop) -> list[Claim]:
    """All invoices in the order of their numbers."""
    shop.journals.make_tables()
    return invoices_of(shop.control)
