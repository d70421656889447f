"""Invoices (账单): a pure function of sealed usage, sealed terms and a period, made again byte for byte.

One line per model version and price version, then what was agreed beyond prices (``amounts``). A line is rounded once to the
minor unit; the difference stands on the page. Each usage row goes to at most one bill: what arrives late goes to the next one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import orjson

from mofang.core.artifact import Artifact, Sealed
from mofang.core.canonical import canonical
from mofang.core.clock import UTC_OFFSET
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import Language
from mofang.core.rule import Rule
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.trade.accounts.terms import agreed_at, subscriptions_of
from mofang.trade.billing import first_form
from mofang.trade.billing import page as invoice_page
from mofang.trade.billing.amounts import Basis, Counted, bill_lines, sums
from mofang.trade.billing.billed import Bill, UsageRow, bill_of, bill_of_charge, bounds, period_at, usage_rows
from mofang.trade.billing.tally import Groups, Tallies, add_rows, close, seal_rows

INVOICE_FORMAT = 2
SELLER = "模坊 Mofang"

Period = Annotated[str, Rule(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
UtcOffset = Annotated[str, Rule(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")]
Form = Annotated[int, Rule(ge=1, le=INVOICE_FORMAT)]
Raw = tuple[str, int, str, str, str]  # id, time, account, kind, body as text


class Invoice(Artifact):
    """A bill: ``invoice.json`` (canonical) and ``invoice.pdf``."""

    kind = "invoice"


@dataclass(frozen=True)
class Terms:
    """What the sealed journals of customers, prices and charges say, of one customer."""

    customer: dict[str, Any]
    prices: dict[tuple[str, int], dict[str, Any]]
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreed: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    subscribed: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    charges: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)  # seal, time, body with its id


@dataclass(frozen=True)
class Loose:
    """What no seal holds yet, for a preview: usage rows, and rows of the terms with the journal they stand in."""

    usage: Iterable[Raw]
    terms: Iterable[tuple[str, Raw]]


@stage(version=3, keyed_on="references")
def invoice(
    run: Run,
    usage: tuple[Sealed, ...],
    terms: tuple[Sealed, ...],
    *,
    customer: str,
    period: Period,
    number: str = "",
    issued_us: Annotated[int, Rule(ge=0)] = 0,
    head: tuple[int, str] = (0, ""),
    earlier: tuple[tuple[int, ...], ...] = (),
    seller: str = SELLER,
    utc_offset: UtcOffset = UTC_OFFSET,
    language: Language = "zh",
    notes: tuple[tuple[str, int], ...] = (),
    form: Form = INVOICE_FORMAT,
) -> Invoice:
    """Bill a customer's usage of one month.

    ``customer`` is the account's id. ``earlier`` are the bills this account had before, oldest first, as
    (from, to, seals, seals of charges): a row stands on the first bill that reaches it. ``number``, ``issued_us`` and ``head``
    (the ledger's last entry, printed on the page) are fixed when the bill is claimed; without them they are
    chosen once. ``notes`` are the credit notes (id, micros) that this bill takes off its total. ``form`` 1 is how
    bills were made before price plans.

    Raises ``usage-none``, ``usage-unpriced``, ``usage-charge-wrong``, ``invoice-test-customer`` and
    ``font-missing``.
    """  # fmt: skip
    issued_us = issued_us or run.once("issued_us", now_us)
    head = head if head[0] else tuple(run.once("head", run.shop.ledger.head))
    tallies = Tallies(run.shop.path)
    document = document_of(
        usage,
        terms,
        customer=customer,
        period=period,
        number=number,
        issued_us=issued_us,
        head=head,
        earlier=earlier,
        seller=seller,
        utc_offset=utc_offset,
        notes=notes,
        form=form,
        tallies=tallies,
    )
    run.write_bytes("invoice.json", canonical(document))
    run.write_bytes("invoice.pdf", invoice_page.render(document, language))
    run.measure(
        number=number,
        customer=customer,
        period=period,
        lines=len(document["lines"]),
        total_micros=document["total_micros"],
        currency=document["currency"],
        renderer=invoice_page.renderer(),
    )
    return run.result(Invoice)


def document_of(
    usage: Sequence[Sealed],
    terms: Sequence[Sealed],
    *,
    customer: str,
    period: str,
    number: str,
    issued_us: int,
    head: Sequence[Any],
    earlier: Iterable[Sequence[int]],
    seller: str,
    utc_offset: str,
    notes: Iterable[Sequence[Any]] = (),
    form: int = INVOICE_FORMAT,
    loose: Loose | None = None,
    tallies: Tallies | None = None,
) -> dict[str, Any]:
    """The whole bill as JSON, out of nothing but its arguments; the settings are those of the stage.

    ``tallies`` save time where they are given, and change no byte.
    """
    from_us, to_us = bounds(period, utc_offset)
    known, charge_seals = read_terms(terms, customer, loose.terms if loose else (), tallies)
    if known.customer["test"]:
        raise MofangError("invoice-test-customer", customer=known.customer["name"])
    bills = [Bill(*reach) for reach in earlier] + [
        Bill(from_us, to_us, len(usage) + (loose is not None), charge_seals + (loose is not None))
    ]
    document = {
        "format": form,
        "kind": "usage",
        "number": number,
        "issued_us": issued_us,
        "seller": party(seller),
        "period": {"name": period, "from_us": from_us, "to_us": to_us, "utc_offset": utc_offset},
        "ledger": {"entries": head[0], "head": head[1]},
        "seals": [{"entry": one.entry, "digest": one.digest} for one in (*usage, *terms)],
        "account": customer,
        "customer": party(known.customer["name"]),
        "currency": known.customer["currency"],
    }
    if form == 1:
        document |= first_form.charges(usage_rows(usage, customer), known.customer, known.prices, bills, period, usage)
    else:
        document |= _charges(usage, known, customer, bills, period, utc_offset, loose, tallies)
    return _less_notes(document, known, notes)


def _less_notes(document: dict[str, Any], terms: Terms, notes: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Credit notes stand below the lines and come off the total; a bill without them says nothing of them."""
    credits = [{"note": id, "reason": terms.notes[id]["reason"], "amount_micros": -micros} for id, micros in notes]
    if credits:
        document["credits"] = credits
        document["total_micros"] += sum(one["amount_micros"] for one in credits)
    return document


def _charges(
    usage: Sequence[Sealed],
    terms: Terms,
    customer: str,
    bills: Sequence[Bill],
    period: str,
    utc_offset: str,
    loose: Loose | None,
    tallies: Tallies | None,
) -> dict[str, Any]:
    """The part of a bill that is arithmetic: its lines, their exact sum, the rounding and the total."""
    due = tuple(body for seal, at_us, body in terms.charges if bill_of_charge(seal, at_us, bills) == len(bills) - 1)
    basis = Basis(
        terms.customer,
        terms.prices,
        period,
        agreed_at(terms.agreed, bills[-1].to_us),
        tuple(subscriptions_of(terms.subscribed)),
        due,
        tuple(one.entry for one in usage),
    )
    counted = counted_of(usage, customer, bills, utc_offset, loose.usage if loose else (), tallies)
    lines, metered, tests = bill_lines(counted, basis)
    if not lines:
        raise MofangError("usage-none", customer=terms.customer["name"], period=period, tests=tests)
    return {"metered_micros": metered, **sums(lines, basis.currency)}


def counted_of(
    usage: Sequence[Sealed],
    customer: str,
    bills: Sequence[Bill],
    utc_offset: str,
    loose: Iterable[Raw] = (),
    tallies: Tallies | None = None,
) -> Iterator[Counted]:
    """The counted rows of the newest of an account's bills, seal by seal; by month where some come late."""
    own = len(bills) - 1
    whole_months = all(bounds(period_at(bill.from_us, utc_offset), utc_offset) == (bill.from_us, bill.to_us) for bill in bills)
    for number, sealed in enumerate(usage, start=1):
        if tallies is not None and whole_months:
            groups = tallies.groups(sealed, number, utc_offset, customer)
            for key, group in sorted(groups.items(), key=lambda one: str(one[0])):
                if bill_of(UsageRow(number, "", bounds(key.month, utc_offset)[0], {}), bills) == own:
                    yield number, key, group
        else:
            yield from _counted(number, seal_rows(sealed, customer), bills, utc_offset)
    yield from _counted(len(usage) + 1, loose, bills, utc_offset)


def _counted(number: int, rows: Iterable[Raw | tuple[Any, ...]], bills: Sequence[Bill], utc_offset: str) -> Iterator[Counted]:
    found: Groups = {}
    add_rows(found, (row for row in rows if bill_of(UsageRow(number, "", row[1], {}), bills) == len(bills) - 1), utc_offset)
    for groups in close(found).values():
        for key, group in sorted(groups.items(), key=lambda one: str(one[0])):
            yield number, key, group


def read_terms(
    terms: Sequence[Sealed], customer: str, loose: Iterable[tuple[str, Raw]] = (), tallies: Tallies | None = None
) -> tuple[Terms, int]:
    """One customer, price versions, credit notes and charges out of their sealed journals, and out of rows not sealed yet.

    And how many seals of charges there are.
    """
    who: dict[str, Any] = {}
    found = Terms(who, {})
    charge_seals = 0
    kept = tallies or Tallies(Path())
    told = [kept.about(sealed) for sealed in terms]
    sealed_rows = (
        (about["journal"], about["number"], row)
        for sealed, about in zip(terms, told, strict=True)
        for row in kept.terms(sealed).get("" if about["journal"] == "prices" else customer, ())
    )
    charge_seals = max((about["number"] for about in told if about["journal"] == "charges"), default=0)
    for journal, number, (id, at_us, account, kind, text) in chain(
        sealed_rows, ((name, charge_seals + 1, row) for name, row in loose)
    ):
        if journal == "prices" and kind == "price":
            body = orjson.loads(text)
            found.prices[body["model"], body["version"]] = body
        elif account == customer:
            body = orjson.loads(text)
            if kind == "customer":
                who.update(body)
            elif kind == "credit-note":
                found.notes[id] = body
            elif kind == "agreed":
                found.agreed.append((at_us, body))
            elif kind in ("subscribe", "unsubscribe"):
                found.subscribed.append((id, kind, body))
            elif journal == "charges":
                found.charges.append((number, at_us, {"id": id, **body}))
    return found, charge_seals


def party(text: str) -> dict[str, Any]:
    """A name and address as typed, the first line being the name; marks that turn text round are left out."""
    lines = ["".join(letter for letter in line if unicodedata.category(letter) not in ("Cc", "Cf"))
             for line in text.strip().splitlines()]  # fmt: skip
    name, *rows = lines or [""]
    return {"name": name, "rows": rows}


__all__ = ["Bill", "Invoice", "UsageRow", "bill_of", "bounds", "document_of", "invoice", "period_at", "usage_rows"]
