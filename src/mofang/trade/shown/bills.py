"""Bills as pages show them: what is paid of each, what was given back, and from one line down to requests and up to licences.

A payment is made to a customer's balance and names no bill. So the money that came in pays bills from the oldest on, and a
bill is ``paid``, ``part`` or ``open`` by what reaches it; ``credited`` where all of it was given back, ``unfinished``
where a kill came after its number was taken.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mofang.core.database import Database
from mofang.core.shop import Shop
from mofang.core.trace import Node, walk
from mofang.trade.accounts.customers import credit_notes, find_customer
from mofang.trade.accounts.lists import customer_names, open_books
from mofang.trade.billing.claims import Claim, find_invoice, invoices_of
from mofang.trade.billing.credits import worth
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.page import title, words_in
from mofang.trade.billing.paid import payments
from mofang.trade.billing.proofs import check_proof, line_of, prove_row, trace_line
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


def line_title(line: dict[str, Any], currency: str, language: str) -> str:
    """What a line is for: the model of a line of use, else the words of the page."""
    if line.get("kind", "usage") == "usage":
        return str(line["model"])
    return title(line, words_in("zh" if language == "zh" else "en"), currency)


def bill_facts(shop: Shop, number: str, language: str) -> dict[str, Any]:
    """One bill: where it stands, its document, its lines with their titles, and what was given back of each."""
    db = open_books(shop)
    claim = find_invoice(db, number)
    row = next(one for one in bill_rows(shop, claim.account) if one.number == claim.number)
    document = invoice_document(shop, claim.number) if claim.entry else None
    back: dict[int, int] = defaultdict(int)
    for line, micros in db.rows("select line, micros from line_credit where number=?", (claim.number,)):
        back[int(line)] += int(micros)
    lines = [{**one, "title": line_title(one, document["currency"], language), "back_micros": back[one["line"]]}
             for one in document["lines"]] if document else []
    return {"row": row, "claim": claim, "document": document, "lines": lines}


def line_facts(shop: Shop, number: str, line: int, language: str, row: str = "") -> dict[str, Any]:
    """One line of a bill: its trace up to source, licence and cost and down to first requests, its root and seals, and what can
    still be given back; with ``row`` the proof that this request stands on it. Raises ``invoice-line-unknown``,
    ``invoice-row-unknown``."""
    db = open_books(shop)
    claim = find_invoice(db, number)
    document = invoice_document(shop, claim.number)
    wanted = line_of(document, line)
    rows = db.rows("select units, micros from line_credit where number=? and line=?", (claim.number, line))
    units, micros = sum(int(one[0]) for one in rows), sum(int(one[1]) for one in rows)
    counted = wanted.get("kind", "usage") == "usage"
    full = worth(document, wanted["amount_micros"], 1, 1) if wanted["amount_micros"] > 0 else 0
    trace = trace_line(shop, claim.number, line, requests=5)
    proof = prove_row(shop, claim.number, line, row) if row else None
    return {
        "claim": claim, "currency": document["currency"], "line": wanted, "counted": counted,
        "title": line_title(wanted, document["currency"], language), "customer": find_customer(db, claim.account),
        "lines": len(document["lines"]), "trace": trace, "licences": licences_of(trace), "sources": sources_of(trace),
        "left_units": max(0, int(wanted.get("units", 0)) - units) if counted and wanted["amount_micros"] > 0 else 0,
        "left_micros": max(0, full - micros), "back_micros": micros,
        "proof": proof, "proved": check_proof(proof) if proof else False,
    }


def credit_worth(shop: Shop, number: str, line: int, units: int) -> int:
    """What giving back so many more units of a line would come to, in micros; 0 where it would be refused."""
    db = open_books(shop)
    document = invoice_document(shop, number)
    wanted = line_of(document, line)
    if wanted.get("kind", "usage") != "usage" or wanted["amount_micros"] <= 0:
        return 0
    rows = db.rows("select units, micros from line_credit where number=? and line=?", (document["number"], line))
    before, given = sum(int(one[0]) for one in rows), sum(int(one[1]) for one in rows)
    if before + units > wanted["units"]:
        return 0
    return max(0, worth(document, wanted["amount_micros"], before + units, wanted["units"]) - given)


def licences_of(trace: Node) -> list[str]:
    """Every licence that stands in a trace."""
    return sorted({str(one.facts["licence"]) for one in walk(trace) if one.facts.get("licence")}
                  | {licence for one in walk(trace) for licence in one.licences})


def sources_of(trace: Node) -> list[str]:
    """Every source from outside that a trace reaches: a file, an address, a shop."""
    found = [str(one.facts.get("source") or one.facts.get("held_by") or "") for one in walk(trace)]
    return list(dict.fromkeys(filter(None, found)))
