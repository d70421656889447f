"""A customer's own papers, for the public API: its invoices, and each as a document, a page or a table. Never another's."""

from __future__ import annotations

import csv
import io
from typing import Any

from mofang.core import lock
from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer
from mofang.trade.billing.balance import decimal
from mofang.trade.billing.claims import Claim, invoices_of

TYPES = {"pdf": b"application/pdf", "csv": b"text/csv; charset=utf-8", "json": b"application/json"}


class Papers:
    """What a serving process reads of the shop besides its books. Called on worker threads, one at a time."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        lock.import_fold("invoices")
        shop.journals.make_tables()

    def listed(self, customer: Customer) -> list[dict[str, Any]]:
        """The customer's invoices whose document is made, oldest first; totals exact as decimal numbers."""
        return [{"number": one.number, "period": one.period, "currency": customer.currency, "total": decimal(one.total_micros)}
                for one in self._of(customer)]

    def file(self, customer: Customer, number: str, kind: str = "json") -> bytes:
        """One invoice: ``json`` is the document that its root was made over, ``pdf`` the page, ``csv`` its lines."""
        if kind not in TYPES:
            raise MofangError("invoice-file-unknown", kind=kind, known=", ".join(sorted(TYPES)))
        own = self._of(customer)
        found = next((one for one in own if one.number == number.strip().upper()), None)
        if found is None:  # another customer's number is answered no other way than none at all
            raise MofangError("invoice-unknown", number=number, last=own[-1].number if own else "-")
        stored = self.shop.artifact(self.shop.ledger.get(found.entry))
        if kind == "pdf":
            with stored.open("invoice.pdf") as file:
                page: bytes = file.read()
            return page
        document: dict[str, Any] = stored.read_json("invoice.json")
        return canonical(document) if kind == "json" else lines_csv(document)

    def _of(self, customer: Customer) -> list[Claim]:
        return [one for one in invoices_of(self.shop.control, customer.id) if one.entry]


def lines_csv(document: dict[str, Any]) -> bytes:
    """An invoice's lines as CSV (RFC 4180) with a header: whatever plain values a line holds."""
    lines: list[dict[str, Any]] = document["lines"]
    columns = list(dict.fromkeys(name for line in lines for name, value in line.items() if not isinstance(value, list | dict)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["invoice", *columns])
    for line in lines:
        writer.writerow([document.get("number", ""), *(line.get(name, "") for name in columns)])
    return out.getvalue().encode()
