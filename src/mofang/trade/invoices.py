"""Invoices (账单): a pure function of sealed usage, sealed terms and a period, made again byte for byte.

One line per model version and price version. A line is the exact sum of its rows, rounded once to the minor
unit; the difference stands on the page. Each usage row goes to at most one bill: what arrives late goes to
the next one.
"""

from __future__ import annotations

import calendar
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any

import orjson

from mofang.core.artifact import Artifact, Sealed
from mofang.core.canonical import canonical
from mofang.core.clock import UTC_OFFSET, local, shift
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import Language
from mofang.core.merkle import Tree
from mofang.core.money import MINOR_MICROS, PER_UNITS, round_half_even_minor
from mofang.core.rule import Rule
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.trade import invoice_page

INVOICE_FORMAT = 1
SELLER = "模坊 Mofang"

Period = Annotated[str, Rule(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
UtcOffset = Annotated[str, Rule(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")]


class Invoice(Artifact):
    """A bill: ``invoice.json`` (canonical) and ``invoice.pdf``."""

    kind = "invoice"


@dataclass(frozen=True)
class UsageRow:
    """One metered request out of a sealed usage journal. ``seal`` is the number of its seal, from 1."""

    seal: int
    id: str
    at_us: int
    body: dict[str, Any]

    def leaf(self) -> bytes:
        """The bytes under the Merkle root: canonical JSON of what the customer is charged for."""
        named = ("request_id", "key", "model", "package", "price", "units", "micros")
        return canonical({"id": self.id, "at_us": self.at_us} | {name: self.body[name] for name in named})


@dataclass(frozen=True)
class Bill:
    """A bill's reach: usage from ``from_us`` to before ``to_us``, out of the first ``seals`` seals."""

    from_us: int
    to_us: int
    seals: int


@dataclass(frozen=True)
class Terms:
    """What the sealed journals of customers and prices say."""

    customers: dict[str, dict[str, Any]]
    prices: dict[tuple[str, int], dict[str, Any]]
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loose:
    """What no seal holds yet, for a preview: usage rows, and (id, account, kind, body) of customers and prices."""

    usage: Iterable[UsageRow]
    terms: Iterable[tuple[str, str, str, str]]


@dataclass
class Line:
    """One line while it grows. The exact amount is the sum of what was debited, in micros."""

    model: str
    package: str
    price: dict[str, Any]
    units: int = 0
    requests: int = 0
    exact_micros: int = 0
    late: int = 0
    repeats: int = 0
    seals: dict[int, int] = field(default_factory=dict)
    tree: Tree = field(default_factory=Tree)

    def add(self, row: UsageRow, late: bool) -> None:
        """Count one row, after its charge was checked against the price."""
        units, micros = row.body["units"], row.body["micros"]
        whole = units * self.price["rate"] // PER_UNITS
        if micros not in (whole, whole + 1):  # one more where a carried remainder filled up
            raise MofangError("usage-charge-wrong", row=row.id, micros=micros, expected=whole)
        self.units += units
        self.requests += 1
        self.exact_micros += micros
        self.late += late
        self.repeats += bool(row.body.get("repeat"))
        self.seals[row.seal] = self.seals.get(row.seal, 0) + 1
        self.tree.add(row.leaf())


@stage(version=1, keyed_on="references")
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
    earlier: tuple[tuple[int, int, int], ...] = (),
    seller: str = SELLER,
    utc_offset: UtcOffset = UTC_OFFSET,
    language: Language = "zh",
    notes: tuple[tuple[str, int], ...] = (),
) -> Invoice:
    """Bill a customer's usage of one month.

    ``customer`` is the account's id. ``earlier`` are the bills this account had before, oldest first, as
    (from, to, seals): a row stands on the first bill that reaches it. ``number``, ``issued_us`` and ``head``
    (the ledger's last entry, printed on the page) are fixed when the bill is claimed; without them they are
    chosen once. ``notes`` are the credit notes (id, micros) that this bill takes off its total.

    Raises ``usage-none``, ``usage-unpriced``, ``usage-charge-wrong``, ``invoice-test-customer`` and
    ``font-missing``.
    """  # fmt: skip
    issued_us = issued_us or run.once("issued_us", now_us)
    head = head if head[0] else tuple(run.once("head", run.shop.ledger.head))
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
    usage: tuple[Sealed, ...],
    terms: tuple[Sealed, ...],
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
    loose: Loose | None = None,
) -> dict[str, Any]:
    """The whole bill as JSON, out of nothing but its arguments; the settings are those of the stage."""
    from_us, to_us = bounds(period, utc_offset)
    bills = [Bill(*reach) for reach in earlier] + [Bill(from_us, to_us, len(usage) + (loose is not None))]
    known = read_terms(terms, loose.terms if loose else ())
    rows = chain(usage_rows(usage, customer), loose.usage if loose else ())
    document = {
        "format": INVOICE_FORMAT,
        "kind": "usage",
        "number": number,
        "issued_us": issued_us,
        "seller": party(seller),
        "period": {"name": period, "from_us": from_us, "to_us": to_us, "utc_offset": utc_offset},
        "ledger": {"entries": head[0], "head": head[1]},
        "seals": [{"entry": one.entry, "digest": one.digest} for one in (*usage, *terms)],
        **charges(rows, known, customer, bills, period, usage),
    }
    return _less_notes(document, known, notes)


def _less_notes(document: dict[str, Any], terms: Terms, notes: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Credit notes stand below the lines and come off the total; a bill without them says nothing of them."""
    credits = [{"note": id, "reason": terms.notes[id]["reason"], "amount_micros": -micros} for id, micros in notes]
    if credits:
        document["credits"] = credits
        document["total_micros"] += sum(one["amount_micros"] for one in credits)
    return document


def charges(
    rows: Iterable[UsageRow],
    terms: Terms,
    customer: str,
    bills: list[Bill],
    period: str,
    usage: tuple[Sealed, ...] = (),
) -> dict[str, Any]:
    """The part of a bill that is arithmetic: its lines, their exact sum, the rounding and the total.

    The rows must come in the order of their seals; ``bills`` are this account's, the one to be made last.
    """
    who = terms.customers[customer]
    if who["test"]:
        raise MofangError("invoice-test-customer", customer=who["name"])
    lines: dict[tuple[str, str, int], Line] = {}
    tests = 0
    for row in rows:
        if bill_of(row, bills) != len(bills) - 1:
            continue
        if row.body["test"]:
            tests += 1
            continue
        line = _line_for(row, lines, terms, who)
        line.add(row, late=row.at_us < bills[-1].from_us)
    if not lines:
        raise MofangError("usage-none", customer=who["name"], period=period, tests=tests)
    finished = [
        _finished(at, line, who["currency"], usage)
        for at, (_, line) in enumerate(sorted(lines.items()), start=1)
    ]
    exact = sum(line["exact_micros"] for line in finished)
    total = sum(line["amount_micros"] for line in finished)
    return {
        "account": customer,
        "customer": party(who["name"]),
        "currency": who["currency"],
        "lines": finished,
        "minor_micros": MINOR_MICROS[who["currency"]],
        "exact_micros": exact,
        "rounding_micros": total - exact,
        "total_micros": total,
    }


def _line_for(
    row: UsageRow, lines: dict[tuple[str, str, int], Line], terms: Terms, who: dict[str, Any]
) -> Line:
    model, package, version = row.body["model"], row.body["package"], row.body["price"]
    if version is None:
        raise MofangError("usage-unpriced", row=row.id, model=model)
    key = (model, package, version)
    if key not in lines:
        price = terms.prices.get((model.partition("@")[0], version))
        if price is None or price["currency"] != who["currency"]:
            raise MofangError(
                "usage-price-unknown", row=row.id, model=model, version=version, currency=who["currency"]
            )
        lines[key] = Line(model, package, price)
    return lines[key]


def _finished(at: int, line: Line, currency: str, usage: tuple[Sealed, ...]) -> dict[str, Any]:
    sealed_by = {number: one.entry for number, one in enumerate(usage, start=1)}
    return {
        "line": at,
        "model": line.model,
        "package": line.package,
        "price_version": line.price["version"],
        "price_micros": line.price["rate"],
        "units": line.units,
        "requests": line.requests,
        "late": line.late,
        **({"repeats": line.repeats} if line.repeats else {}),
        "exact_micros": line.exact_micros,
        "amount_micros": round_half_even_minor(line.exact_micros, currency),
        "merkle_root": line.tree.root().hex(),
        "seals": [
            {"entry": sealed_by.get(number, ""), "rows": rows} for number, rows in sorted(line.seals.items())
        ],
    }


def bill_of(row: UsageRow, bills: list[Bill]) -> int | None:
    """Which of an account's bills, in the order they were made, a row stands on; None if none reaches it yet.

    A row belongs to the bill of its month. Is that bill made already without it, the row is late and goes to
    the next bill of a later month. So no row is ever on two bills, and a month that was skipped keeps its
    rows.
    """
    month_billed = False
    for index, bill in enumerate(bills):
        inside = bill.from_us <= row.at_us < bill.to_us
        if row.seal <= bill.seals and (inside or (month_billed and row.at_us < bill.from_us)):
            return index
        month_billed = month_billed or inside
    return None


def usage_rows(usage: tuple[Sealed, ...], account: str) -> Iterator[UsageRow]:
    """An account's rows out of sealed usage, in the order of the seals; a stretch at a time is in memory."""
    for number, sealed in enumerate(usage, start=1):
        assert sealed.read_json("seal.json")["number"] == number, (
            "usage seals must be given from the first on, in order"
        )
        for id, at_us, kind, body in _sealed_rows(sealed, account):
            if kind == "use":
                yield UsageRow(number, id, at_us, orjson.loads(body))


def read_terms(terms: tuple[Sealed, ...], loose: Iterable[tuple[str, str, str, str]] = ()) -> Terms:
    """Customers, price versions and credit notes out of their sealed journals, and out of rows not sealed yet."""
    found = Terms({}, {})
    sealed_rows = (row for sealed in terms for row in _sealed_rows(sealed, columns=("id", "account", "kind", "body")))
    for id, account, kind, text in chain(sealed_rows, loose):
        body = orjson.loads(text)
        if kind == "customer":
            found.customers[account] = body
        elif kind == "price":
            found.prices[body["model"], body["version"]] = body
        elif kind == "credit-note":
            found.notes[id] = body
    return found


def _sealed_rows(
    sealed: Sealed, account: str = "", columns: tuple[str, ...] = ("id", "at_us", "kind", "body")
) -> Iterator[tuple[Any, ...]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(sealed.path("rows.parquet")) as file:
        for batch in file.iter_batches(8192, columns=[*{*columns, "account"}]):
            kept = batch.filter(pc.equal(batch["account"], account)) if account else batch
            yield from zip(*(kept[name].to_pylist() for name in columns), strict=True)


def bounds(period: str, utc_offset: str) -> tuple[int, int]:
    """The month's first microsecond and the one after its last, on the clock of the zone."""
    year, month = int(period[:4]), int(period[5:])
    first = datetime(year, month, 1, tzinfo=UTC) - shift(utc_offset)
    after = first + timedelta(days=calendar.monthrange(year, month)[1])
    return int(first.timestamp()) * 1_000_000, int(after.timestamp()) * 1_000_000


def period_at(at_us: int, utc_offset: str) -> str:
    """The month in which a moment lies, such as ``2026-11``."""
    return f"{local(at_us, utc_offset):%Y-%m}"


def party(text: str) -> dict[str, Any]:
    """A name and address as typed, the first line being the name; marks that turn text round are left out."""
    lines = ["".join(letter for letter in line if unicodedata.category(letter) not in ("Cc", "Cf"))
             for line in text.strip().splitlines()]  # fmt: skip
    name, *rows = lines or [""]
    return {"name": name, "rows": rows}
