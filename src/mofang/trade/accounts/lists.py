"""Lists for the faces: customers with their balances, keys, prices, invoices of a shop.

Each list imports what it reads and no more: a list is typed many times a day, and most of its time is importing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mofang.core import lock
from mofang.core.clock import UTC_OFFSET
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop

if TYPE_CHECKING:
    from mofang.trade.accounts.customers import Customer
    from mofang.trade.accounts.keys import Key
    from mofang.trade.accounts.limits import Limit
    from mofang.trade.accounts.members import Member
    from mofang.trade.billing.balance import Balance
    from mofang.trade.billing.claims import Claim
    from mofang.trade.pricing.prices import Price


def shop_offset(shop: Shop) -> str:
    """On which clock this shop's days and months begin and end."""
    return str(shop.settings.get("utc_offset") or UTC_OFFSET)


def open_books(shop: Shop) -> Database:
    """The database of trade with all its tables, also in a shop that has sold nothing yet."""
    for journal in ("customers", "keys", "prices", "usage", "invoices", "limits", "charges", "leases", "outbox", "fapiao",
                    "jobs"):
        lock.import_fold(journal)
    shop.journals.make_tables()
    return shop.control


def accounts(shop: Shop) -> list[tuple[Customer, Balance]]:
    """All customers, each with where it stands now; what running servers have drawn it can still spend, so that is not held."""
    from dataclasses import replace

    from mofang.trade.accounts.customers import customers
    from mofang.trade.billing.balance import at_servers, balance_of

    shop.journals.make_tables()
    at_us, found = now_us(), []
    for one in customers(shop.control):
        balance = balance_of(shop.control, one.id, at_us, shop_offset(shop))
        found.append((one, replace(balance, held=balance.held - at_servers(shop.control, one.id))))
    return found


def customer_names(shop: Shop) -> dict[str, str]:
    """The name of each customer by its id."""
    from mofang.trade.accounts.customers import customers

    shop.journals.make_tables()
    return {one.id: one.name for one in customers(shop.control)}


def all_keys(shop: Shop) -> list[Key]:
    """All keys, revoked ones too."""
    from mofang.trade.accounts.keys import keys

    shop.journals.make_tables()
    return keys(shop.control)


def all_members(shop: Shop) -> list[tuple[str, Member, int]]:
    """The members of all customers, with their customer's name and how many keys of theirs are good."""
    from mofang.trade.accounts.keys import keys
    from mofang.trade.accounts.members import members

    lock.import_fold("members")
    shop.journals.make_tables()
    good = [(key.account, key.member) for key in keys(shop.control) if not key.revoked_us]
    names = customer_names(shop)
    return [(names[one.account], one, good.count((one.account, one.name))) for one in members(shop.control)]


def all_limits(shop: Shop, customer: str = "") -> list[tuple[Customer, Limit, int]]:
    """Limits with the customer that each belongs to, and the micros of its budget that this month has used."""
    from mofang.trade.accounts.customers import customers, find_customer
    from mofang.trade.accounts.limits import limits, month_of, used_of

    db = open_books(shop)
    named = {one.id: one for one in ([find_customer(db, customer)] if customer else customers(db))}
    month = month_of(now_us(), shop_offset(shop))
    return [(named[one.account], one, used_of(db, one.scope, month)) for one in limits(db) if one.account in named]


def all_prices(shop: Shop) -> list[Price]:
    """All versions of all prices."""
    from mofang.trade.pricing.prices import prices

    shop.journals.make_tables()
    return prices(shop.control)


def all_invoices(shop: Shop) -> list[Claim]:
    """All invoices in the order of their numbers."""
    from mofang.trade.billing.claims import invoices_of

    shop.journals.make_tables()
    return invoices_of(shop.control)
