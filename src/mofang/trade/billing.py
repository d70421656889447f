"""Billing: claim a number, seal what was used, make the invoice; once per account, month and kind.

A bill is made in two rows of the journal ``invoices``. *claimed* fixes everything the document depends on
(number, issue time, seals, ledger head) under a UNIQUE constraint; *issued* names the document. Whoever
comes second, another thread or the same command after a kill, finds the claim and makes the same bytes from
it. Numbers have no gaps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mofang.core.action import Act, action
from mofang.core.artifact import Sealed
from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.language import Language, say
from mofang.core.merkle import Tree
from mofang.core.shop import Shop
from mofang.core.trace import Node, ancestors, lineage_cost
from mofang.trade import invoices
from mofang.trade.customers import Customer, find_customer
from mofang.trade.invoice_page import font, render
from mofang.trade.invoices import Bill, Period, UsageRow, bill_of, bounds, period_at, usage_rows

KIND = "usage"
TERMS = ("customers", "prices")
CLAIMS_MAX = 8  # another bill of the same account can come between so often before we call it our mistake

TABLES = (
    """create table if not exists invoice(number text primary key, account text not null,
        period text not null, kind text not null, claim text not null, entry text not null,
        total_micros bigint not null,
        unique(account, period, kind))""",
    "create table if not exists invoice_series(id integer primary key, last bigint not null)",
    "insert into invoice_series(id, last) values(1, 0) on conflict(id) do nothing",
)
COLUMNS = "number, account, period, kind, claim, entry, total_micros"


@dataclass(frozen=True)
class Claim:
    """A bill as the journal knows it; ``entry`` is empty until the document is made."""

    number: str
    account: str
    period: str
    kind: str
    fixed: dict[str, Any]
    entry: str
    total_micros: int


@fold("invoices", tables=TABLES)
def fold_invoices(db: Database, rows: list[Row]) -> None:
    """Claims take the next number, documents fill them in."""
    for row in rows:
        body = row.body
        if row.kind == "claimed":
            claim = canonical(body["claim"]).decode()
            db.run(
                f"insert into invoice({COLUMNS}) values(?,?,?,?,?,'',0)",
                (body["number"], row.account, body["period"], body["kind"], claim),
            )
            db.run("update invoice_series set last=last+1 where id=1")
        elif row.kind == "issued":
            db.run(
                "update invoice set entry=?, total_micros=? where number=?",
                (body["entry"], body["total_micros"], body["number"]),
            )


@action(may="money")
def invoice_issue(
    act: Act, *, customer: str, period: Period | None = None, language: Language = "zh", early: bool = False
) -> Claim:
    """Bill a customer's month. Asked twice, the same invoice comes back.

    A month that still runs is refused unless ``early``; what comes after an early bill goes to the next one.
    Without ``period`` it is the running month, on the clock of the shop. Raises ``invoice-month-running``
    and the codes of the stage ``invoice``; a refused bill takes no number.
    """
    shop = act.shop
    shop.journals.make_tables()
    who = find_customer(shop.control, customer)
    month = period or period_at(now_us(), utc_offset(shop))
    claim = _known(shop.control, who.id, month)
    if claim is None:
        if not early and now_us() < bounds(month, utc_offset(shop))[1]:
            raise MofangError("invoice-month-running", period=month, customer=who.name)
        claim = _claim(act, who, month, language)
    if claim.entry:
        return claim
    made = shop.run(invoices.invoice, *_inputs(shop, claim.fixed), **_settings(claim))
    with act.transaction():
        known = _known(shop.control, who.id, month, lock=True)
        if known and not known.entry:
            body = {
                "number": claim.number,
                "entry": made.entry,
                "digest": made.digest,
                "total_micros": made.measures["total_micros"],
            }
            act.record("invoices", NewRow("issued", body, account=who.id))
    return find_invoice(shop.control, claim.number)


def invoice_preview(
    shop: Shop, customer: str, period: str = "", language: Language = "zh"
) -> tuple[dict[str, Any], bytes]:
    """What an invoice would say now, as document and PDF; it has no number, and nothing is claimed.

    A month that is billed already is previewed for what came since; raises ``usage-none`` if that is nothing.
    """
    shop.journals.make_tables()
    who = find_customer(shop.control, customer)
    month = period or period_at(now_us(), utc_offset(shop))
    document = _document(shop, who, month, _fix(shop, who, month, language))
    return document, render(document, language)


def find_invoice(db: Database, number: str) -> Claim:
    """An invoice by its number, whatever the case."""
    found = db.rows(f"select {COLUMNS} from invoice where number=?", (number.strip().upper(),))
    if not found:
        last = db.rows("select number from invoice order by number desc limit 1")
        raise MofangError("invoice-unknown", number=number, last=last[0][0] if last else "-")
    return _row(found[0])


def invoices_of(db: Database, account: str = "") -> list[Claim]:
    """All invoices, or one account's, in the order of their numbers."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    rows = db.rows(f"select {COLUMNS} from invoice{condition}", params)
    return sorted(map(_row, rows), key=lambda claim: claim.fixed["sequence"])


def utc_offset(shop: Shop) -> str:
    """On which clock this shop's months begin and end."""
    return str(shop.settings.get("utc_offset", invoices.UTC_OFFSET))


# Claiming


def _claim(act: Act, who: Customer, month: str, language: Language) -> Claim:
    """Take the next number for this bill, unless somebody has just done so."""
    shop = act.shop
    font()  # a machine that cannot set the page refuses before a number is used up
    for _ in range(CLAIMS_MAX):
        fixed = _fix(shop, who, month, language)
        try:
            _document(shop, who, month, fixed)  # refuses what cannot be billed, before a number is used up
        except MofangError:
            if known := _known(shop.control, who.id, month):  # billed by somebody else since we looked
                return known
            raise
        with act.transaction():
            known = _known(shop.control, who.id, month, lock=True)
            if known:
                return known
            if _earlier(shop.control, who.id) != fixed["earlier"]:
                continue  # another month of this account was billed meanwhile
            sequence = shop.control.rows("select last from invoice_series where id=1")[0][0] + 1
            number = f"INV-{month}-{sequence:04d}"
            body = {"number": number, "period": month, "kind": KIND, "claim": fixed | {"sequence": sequence}}
            act.record("invoices", NewRow("claimed", body, account=who.id))
            return find_invoice(shop.control, number)
    raise AssertionError(f"{CLAIMS_MAX} other bills of {who.id} came between")


def _fix(shop: Shop, who: Customer, month: str, language: Language) -> dict[str, Any]:
    """Everything beside number and period that decides the document's bytes, as of now."""
    for journal in ("usage", *TERMS):
        shop.seal(journal)
    shop.repair_seals()
    return {
        "issued_us": now_us(),
        "language": language,
        "utc_offset": utc_offset(shop),
        "head": list(shop.ledger.head()),
        "seller": str(shop.settings.get("seller", invoices.SELLER)),
        "earlier": _earlier(shop.control, who.id),
        "seals": {journal: len(shop.seals(journal)) for journal in ("usage", *TERMS)},
    }


def _earlier(db: Database, account: str) -> list[list[int]]:
    """The reach of the bills an account has, in the order in which they were claimed."""
    found = []
    for claim in invoices_of(db, account):
        from_us, to_us = bounds(claim.period, claim.fixed["utc_offset"])
        found.append([from_us, to_us, claim.fixed["seals"]["usage"]])
    return found


def _known(db: Database, account: str, month: str, *, lock: bool = False) -> Claim | None:
    """The bill of this account and month. ``lock`` keeps other claims out until the transaction ends."""
    if lock and db.dialect == "postgresql":
        db.rows("select last from invoice_series where id=1 for update")
    sql = f"select {COLUMNS} from invoice where account=? and period=? and kind=?"
    found = db.rows(sql, (account, month, KIND))
    return _row(found[0]) if found else None


def _row(row: tuple[Any, ...]) -> Claim:
    number, account, period, kind, claim, entry, total_micros = row
    return Claim(number, account, period, kind, json.loads(claim), entry, total_micros)


def _inputs(shop: Shop, fixed: dict[str, Any]) -> tuple[tuple[Sealed, ...], tuple[Sealed, ...]]:
    """The seals that a claim reaches: usage, and terms."""
    usage = tuple(shop.seals("usage")[: fixed["seals"]["usage"]])
    return usage, tuple(one for journal in TERMS for one in shop.seals(journal)[: fixed["seals"][journal]])


def _settings(claim: Claim) -> dict[str, Any]:
    names = ("issued_us", "head", "earlier", "seller", "utc_offset", "language")
    return {name: claim.fixed[name] for name in names} | {
        "customer": claim.account,
        "period": claim.period,
        "number": claim.number,
    }


def _document(shop: Shop, who: Customer, month: str, fixed: dict[str, Any]) -> dict[str, Any]:
    """The document as the stage would make it, without a number and without an entry in the ledger."""
    usage, terms = _inputs(shop, fixed)
    settings = {name: fixed[name] for name in ("issued_us", "head", "earlier", "seller", "utc_offset")}
    return invoices.document_of(usage, terms, customer=who.id, period=month, number="", **settings)


# Checking and tracing


def remake(shop: Shop, number: str) -> dict[str, bool]:
    """Make an issued invoice again from its seals and compare: part name → same bytes.

    The PDF can differ where another version of the typesetter or another font is installed; the JSON must
    not.
    """
    claim = find_invoice(shop.control, number)
    usage, terms = _inputs(shop, claim.fixed)
    settings = _settings(claim)
    language = settings.pop("language")
    document = invoices.document_of(usage, terms, **settings)
    stored = shop.artifact(shop.ledger.get(claim.entry))
    again = {"invoice.json": canonical(document), "invoice.pdf": render(document, language)}
    return {name: stored.path(name).read_bytes() == data for name, data in again.items()}


def invoice_pdf(shop: Shop, number: str) -> bytes:
    """An issued invoice's PDF. Raises ``invoice-unfinished`` where a kill came after the claim."""
    claim = find_invoice(shop.control, number)
    if not claim.entry:
        raise MofangError("invoice-unfinished", number=claim.number, period=claim.period)
    return shop.artifact(shop.ledger.get(claim.entry)).path("invoice.pdf").read_bytes()


def save_pdf(shop: Shop, number: str, out: Path) -> Path:
    """Write an issued invoice's PDF (for a name ending in .json, its JSON) to a file of the user's choice."""
    stored = shop.artifact(shop.ledger.get(find_invoice(shop.control, number).entry))
    out.write_bytes(stored.path("invoice.json" if out.suffix == ".json" else "invoice.pdf").read_bytes())
    return out


def invoice_document(shop: Shop, number: str) -> dict[str, Any]:
    """An issued invoice's document. Raises ``invoice-unfinished`` where a kill came after the claim."""
    claim = find_invoice(shop.control, number)
    if not claim.entry:
        raise MofangError("invoice-unfinished", number=claim.number, period=claim.period)
    found: dict[str, Any] = shop.artifact(shop.ledger.get(claim.entry)).read_json("invoice.json")
    return found


def line_of(document: dict[str, Any], line: int) -> dict[str, Any]:
    """One line of a document. Raises ``invoice-line-unknown``."""
    if not 1 <= line <= len(document["lines"]):
        raise MofangError(
            "invoice-line-unknown", number=document["number"], line=line, lines=len(document["lines"])
        )
    found: dict[str, Any] = document["lines"][line - 1]
    return found


def line_rows(shop: Shop, number: str, line: int) -> Iterator[UsageRow]:
    """The usage rows behind one line, in the order in which they stand under its Merkle root."""
    claim, wanted = find_invoice(shop.control, number), line_of(invoice_document(shop, number), line)
    usage, _ = _inputs(shop, claim.fixed)
    from_us, to_us = bounds(claim.period, claim.fixed["utc_offset"])
    bills = [Bill(*reach) for reach in claim.fixed["earlier"]] + [Bill(from_us, to_us, len(usage))]
    key = (wanted["model"], wanted["package"], wanted["price_version"])
    for row in usage_rows(usage, claim.account):
        same = (row.body["model"], row.body["package"], row.body["price"]) == key and not row.body["test"]
        if same and bill_of(row, bills) == len(bills) - 1:
            yield row


def prove_row(shop: Shop, number: str, line: int, row: str) -> dict[str, Any]:
    """What a customer needs to check that a usage row stands on a line: its bytes, place and sibling hashes.

    Check it with ``mofang.core.merkle.verify_inclusion``, or any RFC 6962 library. Raises
    ``invoice-row-unknown``.
    """
    wanted = line_of(invoice_document(shop, number), line)
    index, leaf = next(
        ((at, one.leaf()) for at, one in enumerate(line_rows(shop, number, line)) if one.id == row), (-1, b"")
    )
    if index < 0:
        raise MofangError("invoice-row-unknown", row=row, number=number, line=line)
    tree = Tree(watch=index)
    for one in line_rows(shop, number, line):
        tree.add(one.leaf())
    return {
        "number": number,
        "line": line,
        "row": leaf.decode(),
        "index": index,
        "rows": wanted["requests"],
        "proof": [beside.hex() for beside in tree.proof()],
        "merkle_root": wanted["merkle_root"],
    }


def trace_line(shop: Shop, number: str, line: int, requests: int = 3) -> Node:
    """From an invoice line back to seals, model, data, licence and cost, and down to its first requests."""
    claim = find_invoice(shop.control, number)
    document = invoice_document(shop, number)
    wanted = line_of(document, line)
    ledger, seen = shop.ledger, set[str]()
    first = tuple(
        Node(
            stage="request",
            entry=row.body["request_id"],
            at_us=row.at_us,
            facts={"units": row.body["units"], "micros": row.body["micros"]},
        )
        for row in islice(line_rows(shop, number, line), requests)
    )
    seals = tuple(
        _with_rows(ancestors(ledger, one["entry"], seen=seen), one["rows"], first if at == 0 else ())
        for at, one in enumerate(wanted["seals"])
    )
    facts = {
        name: wanted[name] for name in ("units", "requests", "exact_micros", "amount_micros", "merkle_root")
    }
    try:
        package = ancestors(ledger, wanted["package"], seen=seen)
        behind = lineage_cost(ledger, wanted["package"])
        facts |= {
            "runs_behind": behind["runs"],
            "cpu_s_behind": behind["cpu_s"],
            "cost_micros_behind": say("rate not set", "未设费率")
            if behind["micros"] is None
            else behind["micros"],
        }
    except MofangError as error:
        if error.code != "entry-unknown":
            raise
        package = Node(
            stage="package", entry=wanted["package"], facts={"ledger": say("another shop", "另一个模坊")}
        )
    below = Node(
        stage="line",
        name=f"{line} · {wanted['model']}",
        facts=facts,
        licences=package.licences,
        below=(*seals, package),
    )
    top = {
        "customer": document["customer"]["name"],
        "period": claim.period,
        "total_micros": claim.total_micros,
        "ledger": document["ledger"]["head"],
    }
    return Node(
        stage="invoice", kind="invoice", name=claim.number, entry=claim.entry, facts=top, below=(below,)
    )


def _with_rows(node: Node, rows: int, requests: tuple[Node, ...]) -> Node:
    return Node(**(node.__dict__ | {"facts": node.facts | {"rows": rows}, "below": (*node.below, *requests)}))
