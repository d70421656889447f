"""Bills as pages show them: what is paid of each, and what was given back.

A payment is made to a customer's balance and names no bill. So the money that came in pays bills from the oldest on, and a
bill is ``paid``, ``part`` or ``open`` by what reaches it; ``credited`` where all of it was given back, ``unfinished``
where a kill came after its number was taken.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mofang.core.database import Database
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import credit_notes
from mofang.trade.accounts.lists import customer_names, open_books
from mofang.trade.billing.claims import Claim, invoices_of
from mofang.trade.billing.paid import payments
from mofang.trade.shown.listing import Choice

STATES = ("open", "part", "paid", "credited", "unfinished")


@dataclass(frozen=True)
class Row:
    """A bill in the list. Amounts in micros: ``left`` is what is not paid yet, ``credited`` what was given back of its lines."""

    number: str
    account: str
    customer: str
    period: str
    currency: str
    total: int
    left: int
    credited: int
    state: str
    issued_us: int
    fapiao: str
    sequence: int


CHOICE: Choice[Row] = Choice(
    {"number": lambda one: one.sequence, "customer": lambda one: (one.customer.casefold(), one.sequence),
     "period": lambda one: (one.period, one.sequence), "total": lambda one: one.total, "left": lambda one: one.left},
    "-number",
    {state: (lambda wanted: lambda one: one.state == wanted)(state) for state in STATES},
    lambda one: f"{one.number}\n{one.customer}\n{one.fapiao}",
    {"customer": lambda one, value: one.account == value, "period": lambda one, value: one.period == value})


def bill_rows(shop: Shop, account: str = "") -> list[Row]:
    """All bills, or one customer's, in the order of their numbers."""
    db = open_books(shop)
    names = customer_names(shop)
    currencies = dict(db.rows("select account, currency from account"))
    credited = _credited(db)
    tax = dict(db.rows("select invoice, number from fapiao"))
    claims: dict[str, list[Claim]] = defaultdict(list)
    for claim in invoices_of(db, account):
        claims[claim.account].append(claim)
    money = _money_in(db, claims, account)
    found = []
    for who, own in claims.items():
        left_over = money.get(who, 0)
        for claim in own:
            taken = min(max(0, left_over), claim.total_micros) if claim.total_micros > 0 else 0
            left_over -= taken
            found.append(Row(claim.number, who, names.get(who, who), claim.period, currencies.get(who, shop.currency),
                             claim.total_micros, max(0, claim.total_micros - taken), credited.get(claim.number, 0),
                             _state(claim, taken, credited.get(claim.number, 0)), int(claim.fixed["issued_us"]),
                             str(tax.get(claim.number, "")), int(claim.fixed["sequence"])))
    return sorted(found, key=lambda one: one.sequence)


def _money_in(db: Database, claims: dict[str, list[Claim]], account: str) -> dict[str, int]:
    """What came in and did not lapse, and what was given back and stands on no bill yet, by customer."""
    money: dict[str, int] = defaultdict(int)
    for payment in payments(db, account):
        money[payment.customer] += payment.micros - payment.lapsed_micros
    for note in credit_notes(db, account):
        money[note.customer] += note.micros
    for who, own in claims.items():
        money[who] -= sum(micros for claim in own for _, micros in claim.fixed.get("notes", ()))
    return money


def _credited(db: Database) -> dict[str, int]:
    """What was given back of each bill's lines."""
    return {number: int(micros) for number, micros in db.rows("select number, sum(micros) from line_credit group by number")}


def _state(claim: Claim, taken: int, credited: int) -> str:
    if not claim.entry:
        return "unfinished"
    if credited and credited >= claim.total_micros:
        return "credited"
    if taken >= claim.total_micros:
        return "paid"
    return "part" if taken else "open"
