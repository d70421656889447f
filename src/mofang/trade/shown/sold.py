"""What was sold besides calls, as pages show it: leases, customers' own models and solutions.

Of a customer's own model only what the order says is here: name, base, price, state and counts. Its room is never opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.ledger import Entry
from mofang.core.shop import Shop
from mofang.core.trace import ancestors
from mofang.trade.accounts.lists import customer_names
from mofang.trade.billing.oneoff import OneOff, oneoffs
from mofang.trade.customs.jobs import job_of
from mofang.trade.customs.orders import Custom, customs, facts, find_custom
from mofang.trade.customs.orders import standing as order_state
from mofang.trade.leases.book import Lease, find_lease, leases
from mofang.trade.leases.history import about
from mofang.trade.shown.customers import open_all
from mofang.trade.shown.lines import licences_of, sources_of
from mofang.trade.shown.listing import Choice

SOON_US = 30 * 86_400_000_000
LEASE_STATES = ("early", "good", "grace", "ended", "revoked")
CUSTOM_STATES = ("ordered", "queued", "running", "stopping", "declined", "delivered", "deleting", "deleted")


@dataclass(frozen=True)
class Leased:
    """A lease in the list."""

    lease: Lease
    customer: str
    state: str

    @property
    def soon(self) -> bool:
        """Whether it ends within thirty days and goes on until then."""
        return self.state in ("good", "grace") and self.lease.licence.until_us < now_us() + SOON_US


@dataclass(frozen=True)
class Made:
    """A customisation in the list; ``state`` says besides the order's own state whether it is queued or running."""

    custom: Custom
    customer: str
    currency: str
    state: str


@dataclass(frozen=True)
class Bundle:
    """A solution: the ledger's entry of it, and the charge."""

    entry: Entry
    name: str
    customer: str
    account: str
    models: tuple[str, ...]
    charged: OneOff


LEASES: Choice[Leased] = Choice(
    {"model": lambda one: (one.lease.model, one.lease.id), "customer": lambda one: (one.customer.casefold(), one.lease.id),
     "until": lambda one: one.lease.licence.until_us, "units": lambda one: one.lease.units},
    "until",
    {**{state: (lambda wanted: lambda one: one.state == wanted)(state) for state in LEASE_STATES},
     "soon": lambda one: one.soon},
    lambda one: f"{one.lease.id}\n{one.lease.model}\n{one.customer}",
    {"customer": lambda one, value: one.lease.account == value})
CUSTOMS: Choice[Made] = Choice(
    {"name": lambda one: one.custom.name, "customer": lambda one: (one.customer.casefold(), one.custom.made_us),
     "made": lambda one: one.custom.made_us, "state": lambda one: one.state},
    "-made",
    {state: (lambda wanted: lambda one: one.state == wanted)(state) for state in CUSTOM_STATES},
    lambda one: f"{one.custom.name}\n{one.custom.base}\n{one.customer}",
    {"customer": lambda one, value: one.custom.account == value})
SOLUTIONS: Choice[Bundle] = Choice(
    {"name": lambda one: one.name, "customer": lambda one: one.customer.casefold(), "made": lambda one: one.entry.at_us},
    "-made", {}, lambda one: f"{one.name}\n{one.customer}\n{' '.join(one.models)}",
    {"customer": lambda one, value: one.account == value})


def lease_rows(shop: Shop, account: str = "") -> list[Leased]:
    """All leases, or one customer's."""
    db, names, at_us = open_all(shop), customer_names(shop), now_us()
    return [Leased(one, names.get(one.account, one.account), one.state(at_us)) for one in leases(db, account)]


def lease_facts(shop: Shop, id: str) -> dict[str, Any]:
    """One lease: what was agreed, what was used and charged, and where the model comes from."""
    db = open_all(shop)
    found = find_lease(db, id)
    told = about(shop, found.id)
    return {"one": Leased(found, customer_names(shop)[found.account], found.state(now_us())), "licence": found.licence,
            **{name: told[name] for name in ("history", "charges")}, **_behind(shop, found.entry)}


def custom_rows(shop: Shop, account: str = "") -> list[Made]:
    """All customisations, or one customer's."""
    db, names = open_all(shop), customer_names(shop)
    currencies = _currencies(db)
    return [Made(one, names.get(one.account, one.account), currencies[one.account], order_state(one, job_of(db, one.id)))
            for one in customs(db, account)]


def custom_facts(shop: Shop, id: str) -> dict[str, Any]:
    """One customisation: quote, state, counts, charges, and where its base comes from. Nothing of a record."""
    db = open_all(shop)
    found = find_custom(db, id)
    charges = [one for one in oneoffs(db, found.account) if one.kind == "customisation" and _of_custom(shop, one, found)]
    told = facts(shop, found)
    one = Made(found, customer_names(shop)[found.account], _currencies(db)[found.account], told["state"])
    return {"one": one, "told": told, "charges": charges,
            "expired": found.state in ("ordered", "declined") and found.expires_us <= now_us(),
            **_behind(shop, found.delivered or found.entry)}


def _of_custom(shop: Shop, charge: OneOff, custom: Custom) -> bool:
    if custom.id in charge.reference or charge.source_entry == custom.delivered:
        return True
    return bool(charge.what.partition("@")[0].strip() == custom.name)


def solution_rows(shop: Shop) -> list[Bundle]:
    """All solutions that were sold, oldest first."""
    db, names = open_all(shop), customer_names(shop)
    found = []
    for charge in oneoffs(db):
        if charge.kind == "solution":
            entry = shop.ledger.get(charge.source_entry)
            said = entry.body["settings"]
            found.append(Bundle(entry, said["name"], names.get(charge.account, charge.account), charge.account,
                                tuple(said["models"]), charge))
    return found


def solution_facts(shop: Shop, id: str) -> dict[str, Any]:
    """One solution: what is in it, the charge, and where its models come from. Raises ``solution-unknown``."""
    found = next((one for one in solution_rows(shop) if one.entry.id == id), None)
    if found is None:
        raise MofangError("solution-unknown", id=id[:80])
    return {"one": found, "limits": found.entry.body["settings"]["limits"], "texts": found.entry.body["settings"]["texts"],
            **_behind(shop, found.entry.id)}


def _currencies(db: Database) -> dict[str, str]:
    return {account: str(currency) for account, currency in db.rows("select account, currency from account")}


def _behind(shop: Shop, entry: str) -> dict[str, Any]:
    """What an entry was made from; nothing where this ledger does not hold it."""
    try:
        trace = ancestors(shop.ledger, entry)
    except MofangError as error:
        if error.code != "entry-unknown":
            raise
        return {"trace": None, "licences": [], "sources": []}
    return {"trace": trace, "licences": licences_of(trace), "sources": sources_of(trace)}
