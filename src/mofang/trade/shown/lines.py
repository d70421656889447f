"""One bill and its lines as pages show them: from a line down to requests and their proof, and up to licence, cost and source."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mofang.core.shop import Shop
from mofang.core.trace import Node, walk
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.claims import find_invoice
from mofang.trade.billing.credits import worth
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.page import title, words_in
from mofang.trade.billing.proofs import check_proof, line_of, prove_row, trace_line
from mofang.trade.shown.bills import bill_rows


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
