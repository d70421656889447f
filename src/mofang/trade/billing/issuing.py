"""Billing: claim a number, seal what was used, make the invoice; once per account, month and kind.

A bill is made in two rows of the journal ``invoices``. *claimed* fixes everything the document depends on
(number, issue time, seals, ledger head) under a UNIQUE constraint; *issued* names the document. Whoever
comes second, another thread or the same command after a kill, finds the claim and makes the same bytes from
it. Numbers have no gaps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mofang.core.action import Act, action
from mofang.core.artifact import Sealed
from mofang.core.canonical import canonical
from mofang.core.clock import behind_us, local
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.language import Language
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer, credit_notes, find_customer
from mofang.trade.accounts.lists import shop_offset
from mofang.trade.billing import invoices
from mofang.trade.billing.billed import bounds, period_at
from mofang.trade.billing.claims import COLUMNS, Claim, claim_of, find_invoice, invoices_of
from mofang.trade.billing.invoices import INVOICE_FORMAT, Loose, Period
from mofang.trade.billing.page import font, render
from mofang.trade.billing.paid import lapse
from mofang.trade.billing.tally import Tallies
from mofang.trade.settings import seller_of

KIND = "usage"
TERMS = ("customers", "prices", "charges")
PAGE = 5000
CLAIMS_MAX = 8  # another bill of the same account can come between so often before we call it our mistake


@action(may="money")
def invoice_issue(
    act: Act, *, customer: str, period: Period | None = None, language: Language = "zh", early: bool = False,
    clock_checked: bool = False,
) -> Claim:
    """Bill a customer's month. Asked twice, the same invoice comes back.

    A month that still runs is refused unless ``early``; what comes after an early bill goes to the next one.
    Without ``period`` it is the running month, on the clock of the shop. A machine whose clock is behind what
    the shop has seen bills nothing, unless somebody has looked (``clock_checked``). Raises
    ``invoice-month-running``, ``clock-behind`` and the codes of the stage ``invoice``; a refused bill takes no
    number.
    """
    shop = act.shop
    shop.journals.make_tables()
    who = find_customer(shop.control, customer)
    month = period or period_at(now_us(), shop_offset(shop))
    lapse(shop)
    claim = _known(shop.control, who.id, month)
    if claim is None:
        if not clock_checked:
            require_clock(shop)
        if not early and now_us() < bounds(month, shop_offset(shop))[1]:
            raise MofangError("invoice-month-running", period=month, customer=who.name)
        claim = _claim(act, who, month, language)
    if claim.entry:
        return claim
    made = shop.run(invoices.invoice, *inputs_of(shop, claim.fixed), **_settings(claim))
    document = made.read_json("invoice.json")
    with act.transaction():
        known = _known(shop.control, who.id, month, lock=True)
        if known and not known.entry:
            body = {
                "number": claim.number,
                "entry": made.entry,
                "digest": made.digest,
                "total_micros": made.measures["total_micros"],
                "exact_micros": document.get("metered_micros", document["exact_micros"]) + charged_once(document),
            }
            act.record("invoices", NewRow("issued", body, account=who.id))
            if extra := beyond_metered(document):
                act.record("customers", NewRow("settled", {"number": claim.number, "micros": extra}, account=who.id))
    return find_invoice(shop.control, claim.number)


def charged_once(document: dict[str, Any]) -> int:
    """What a bill's lines of single charges come to; the balance has counted it since it was charged."""
    return sum(line["amount_micros"] for line in document["lines"] if "charge" in line)


def beyond_metered(document: dict[str, Any]) -> int:
    """What a bill says beyond what the meter debited and what was charged once: subscriptions, tax, rounding, less what a plan's
    price is below the dearest.

    It is settled against what was paid, so that a balance is what was paid less what was billed.
    """
    if document["format"] == 1:
        return 0
    notes: int = sum(one["amount_micros"] for one in document.get("credits", ()))
    found: int = document["total_micros"] - notes - document["metered_micros"] - charged_once(document)
    return found


def invoice_preview(
    shop: Shop, customer: str, period: str = "", language: Language = "zh"
) -> tuple[dict[str, Any], bytes]:
    """What an invoice would say now, as document and PDF; it has no number, and nothing is claimed or sealed.

    A month that is billed already is previewed for what came since; raises ``usage-none`` if that is nothing.
    """
    shop.journals.make_tables()
    who = find_customer(shop.control, customer)
    month = period or period_at(now_us(), shop_offset(shop))
    fixed = _fix(shop, who, month, language)
    document = _document(shop, who, month, fixed, _loose(shop, who.id))
    noted = _with_notes(shop, who.id, fixed, document)
    if noted is not fixed:
        document = _document(shop, who, month, noted, _loose(shop, who.id))
    return document, render(document, language)


def documents(shop: Shop, account: str, open_months: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """A customer's bills in their order, and what stands on none yet for these months, as documents without a number.

    Nothing is claimed or sealed. A bill that was cut short is made again from its claim. What came to a month after its bill
    stands on a second document of that month, with its fees again: whoever adds up leaves them out there.
    """
    for claim in invoices_of(shop.control, account):
        if claim.entry:
            yield invoice_document(shop, claim.number)
        else:
            settings = _settings(claim)
            settings.pop("language")
            yield invoices.document_of(*inputs_of(shop, claim.fixed), **settings)
    who, reach = find_customer(shop.control, account), _earlier(shop.control, account)
    for month in open_months:
        fixed = _fix(shop, who, month, "en") | {"earlier": reach}
        try:
            yield _document(shop, who, month, fixed, _loose(shop, account))
        except MofangError as error:
            if error.code != "usage-none":
                raise
            continue
        reach.append([*bounds(month, fixed["utc_offset"]), *(fixed["seals"][journal] + 1 for journal in ("usage", "charges"))])


def require_clock(shop: Shop) -> None:
    """Refuse where this machine's clock says a time before what the shop has written already: ``clock-behind``."""
    late = behind_us(shop.ledger.db, shop.control)
    if late:
        offset, now = shop_offset(shop), now_us()
        raise MofangError("clock-behind", now=f"{local(now, offset):%Y-%m-%d %H:%M}",
                          newest=f"{local(now + late, offset):%Y-%m-%d %H:%M}")


# Claiming


def _claim(act: Act, who: Customer, month: str, language: Language) -> Claim:
    """Take the next number for this bill, unless somebody has just done so."""
    shop = act.shop
    font()  # a machine that cannot set the page refuses before a number is used up
    for _ in range(CLAIMS_MAX):
        seal_terms(shop)
        fixed = _fix(shop, who, month, language)
        try:
            document = _document(shop, who, month, fixed)  # refuses what cannot be billed, before a number is used up
        except MofangError:
            if known := _known(shop.control, who.id, month):  # billed by somebody else since we looked
                return known
            raise
        fixed = _with_notes(shop, who.id, fixed, document)
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
    return {
        "issued_us": now_us(),
        "language": language,
        "utc_offset": shop_offset(shop),
        "head": list(shop.ledger.head()),
        "seller": seller_of(shop, language, invoices.SELLER),
        "earlier": _earlier(shop.control, who.id),
        "seals": {journal: len(shop.seals(journal)) for journal in ("usage", *TERMS)},
        "form": INVOICE_FORMAT,
    }


def seal_terms(shop: Shop) -> None:
    """Freeze what was used, and the customers and prices that it goes by."""
    for journal in ("usage", *TERMS):
        while shop.seal(journal) is not None:  # a long stretch becomes several seals
            pass
    shop.repair_seals()


def _with_notes(shop: Shop, account: str, fixed: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The claim with the credit notes that this bill takes off, oldest first, until nothing is left to pay.

    What is left of a note waits for the next bill, as does one that no seal holds yet.
    """
    used: dict[str, int] = {}
    for claim in invoices_of(shop.control, account):
        for id, micros in claim.fixed.get("notes", ()):
            used[id] = used.get(id, 0) + micros
    left, notes = document["total_micros"], []
    for one in credit_notes(shop.control, account):
        micros = min(left, one.micros - used.get(one.id, 0))
        if micros > 0 and one.at_us <= fixed["issued_us"]:
            notes.append([one.id, micros])
            left -= micros
    return fixed | {"notes": notes} if notes else fixed


def _loose(shop: Shop, account: str) -> Loose:
    """What no seal holds yet of this account's usage, and of the terms."""
    usage = ((row[0], row[2], row[1], row[3], row[4]) for row in _unsealed(shop, "usage", account))
    terms = ((journal, (row[0], row[2], row[1], row[3], row[4])) for journal in TERMS for row in _unsealed(shop, journal))
    return Loose(usage, terms)


def _unsealed(shop: Shop, journal: str, account: str = "") -> Iterator[tuple[Any, ...]]:
    """(id, account, time, kind, body) of rows behind the last seal, writer by writer, as a seal would hold them."""
    last = shop.journals.last_seal(journal)
    done: dict[str, int] = json.loads(last[3]) if last else {}
    condition, params = (" and account=?", (account,)) if account else ("", ())
    sql = f"""select id, account, at_us, kind, body, seq from journal where journal=? and writer=? and seq>?{condition}
        order by seq limit {PAGE}"""
    sql_writers = "select writer, max(seq) from journal where journal=? group by writer order by writer"
    for writer, newest in shop.control.rows(sql_writers, (journal,)):
        seq = done.get(writer, 0)
        while seq < newest and (page := shop.control.rows(sql, (journal, writer, seq, *params))):
            yield from page
            seq = page[-1][5]


def _earlier(db: Database, account: str) -> list[list[int]]:
    """The reach of the bills an account has, in the order in which they were claimed."""
    found = []
    for claim in invoices_of(db, account):
        from_us, to_us = bounds(claim.period, claim.fixed["utc_offset"])
        seals = claim.fixed["seals"]
        found.append([from_us, to_us, seals["usage"], *([seals["charges"]] if seals.get("charges") else [])])
    return found


def _known(db: Database, account: str, month: str, *, lock: bool = False) -> Claim | None:
    """The bill of this account and month. ``lock`` keeps other claims out until the transaction ends."""
    if lock and db.dialect == "postgresql":
        db.rows("select last from invoice_series where id=1 for update")
    sql = f"select {COLUMNS} from invoice where account=? and period=? and kind=?"
    found = db.rows(sql, (account, month, KIND))
    return claim_of(found[0]) if found else None


def inputs_of(shop: Shop, fixed: dict[str, Any]) -> tuple[tuple[Sealed, ...], tuple[Sealed, ...]]:
    """The seals that a claim reaches: usage, and terms."""
    usage = tuple(shop.seals("usage")[: fixed["seals"]["usage"]])
    return usage, tuple(one for journal in TERMS for one in shop.seals(journal)[: fixed["seals"].get(journal, 0)])


def _settings(claim: Claim) -> dict[str, Any]:
    names = ("issued_us", "head", "earlier", "seller", "utc_offset", "language")
    notes = {"notes": tuple(map(tuple, claim.fixed["notes"]))} if claim.fixed.get("notes") else {}
    return notes | {name: claim.fixed[name] for name in names} | {
        "customer": claim.account,
        "period": claim.period,
        "number": claim.number,
        "form": claim.fixed.get("form", 1),
    }


def _document(shop: Shop, who: Customer, month: str, fixed: dict[str, Any], loose: Loose | None = None) -> dict[str, Any]:
    """The document as the stage would make it, without a number and without an entry in the ledger."""
    usage, terms = inputs_of(shop, fixed)
    settings = {name: fixed[name] for name in ("issued_us", "head", "earlier", "seller", "utc_offset")}
    return invoices.document_of(usage, terms, customer=who.id, period=month, number="", notes=fixed.get("notes", ()),
                                loose=loose, tallies=Tallies(shop.path), **settings)


# Checking


def remake(shop: Shop, number: str) -> dict[str, bool]:
    """Make an issued invoice again from its seals and compare: part name → same bytes.

    The PDF can differ where another version of the typesetter or another font is installed; the JSON must
    not.
    """
    claim = find_invoice(shop.control, number)
    usage, terms = inputs_of(shop, claim.fixed)
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
