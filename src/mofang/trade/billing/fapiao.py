"""The tax invoice (发票) of a bill: issued in the tax office's own system, so only its fields leave and its number comes back.

A bill is not a tax document. An accountant types one from the fields that ``fapiao_rows`` gives; the number is recorded beside
the bill, and a bill has one number until it is recorded as replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import MINOR_MICROS
from mofang.core.rule import Rule
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.balance import decimal
from mofang.trade.billing.claims import find_invoice, invoices_of
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.page import title, words_in

JOURNAL = "fapiao"
Field = Annotated[str, Rule(max_length=200)]
BUYER = ("title", "tax_id", "address", "phone", "bank", "bank_account")
COLUMNS = ("invoice", "period", *BUYER, "item", "quantity", "amount", "tax_rate", "tax", "total", "currency", "fapiao")
TABLES = (
    """create table if not exists fapiao(invoice text primary key, account text not null, number text not null,
        at_us bigint not null)""",
    """create table if not exists fapiao_buyer(account text not null, field text not null, value text not null,
        primary key(account, field))""",
)


@dataclass(frozen=True)
class Recorded:
    """The number of a bill's tax invoice; ``repeated`` where it was recorded before."""

    invoice: str
    number: str
    repeated: bool = False


@fold(JOURNAL, tables=TABLES)
def fold_fapiao(db: Database, rows: list[Row]) -> None:
    """Numbers of tax invoices, and to whom they are made out."""
    for row in rows:
        body = row.body
        if row.kind == "number":
            db.run(
                """insert into fapiao values(?,?,?,?) on conflict(invoice) do update set number=excluded.number,
                at_us=excluded.at_us""",
                (body["invoice"], row.account, body["number"], row.at_us),
            )
        elif row.kind == "buyer":
            for field in BUYER:
                db.run(
                    """insert into fapiao_buyer values(?,?,?) on conflict(account, field) do update set value=excluded.value""",
                    (row.account, field, body[field]),
                )


@action(may="money")
def fapiao_buyer(
    act: Act,
    *,
    customer: str,
    title: Field,
    tax_id: Field = "",
    address: Field = "",
    phone: Field = "",
    bank: Field = "",
    bank_account: Field = "",
) -> dict[str, str]:
    """To whom a customer's tax invoices are made out (抬头, 税号, 地址, 电话, 开户行, 账号)."""
    given = {"title": title, "tax_id": tax_id, "address": address, "phone": phone, "bank": bank, "bank_account": bank_account}
    with turn(act, JOURNAL):
        found = find_customer(act.shop.control, customer)
        act.record(JOURNAL, NewRow("buyer", {name: value.strip() for name, value in given.items()}, account=found.id))
    return given


@action(may="money")
def fapiao_record(
    act: Act, *, invoice: str, number: Annotated[str, Rule(pattern=r"^[0-9A-Za-z-]{6,40}$")], replaces: str = ""
) -> Recorded:
    """Record the number of the tax invoice that was issued for a bill; the same one twice is one.

    Another number takes its place only where ``replaces`` names the one before (it was red-lettered). Raises ``fapiao-differs``,
    and ``fapiao-taken`` for a number that another bill has.
    """
    with turn(act, JOURNAL) as db:
        claim = find_invoice(db, invoice)
        before = number_of(db, claim.number)
        if before == number:
            return Recorded(claim.number, number, repeated=True)
        if before != replaces:
            raise MofangError("fapiao-differs", invoice=claim.number, recorded=before or "-")
        taken = db.rows("select invoice from fapiao where number=?", (number,))
        if taken:
            raise MofangError("fapiao-taken", number=number, invoice=taken[0][0])
        act.record(
            JOURNAL, NewRow("number", {"invoice": claim.number, "number": number, "replaces": replaces}, account=claim.account)
        )
    return Recorded(claim.number, number)


def number_of(db: Database, invoice: str) -> str:
    """The number of a bill's tax invoice, or nothing."""
    found = db.rows("select number from fapiao where invoice=?", (invoice,))
    return str(found[0][0]) if found else ""


def fapiao_rows(shop: Shop, month: str = "") -> list[dict[str, Any]]:
    """What an accountant types, a row for each line of each issued bill (of one month, if named); amounts as decimal numbers.

    ``amount`` is without tax and ``tax`` its share, so that the rows of a bill sum to its total: the last row takes the rounding.
    """
    db = open_books(shop)
    found: list[dict[str, Any]] = []
    for claim in invoices_of(db):
        if not claim.entry or (month and claim.period != month):
            continue
        document = invoice_document(shop, claim.number)
        buyer = (
            dict.fromkeys(BUYER, "")
            | {"title": document["customer"]["name"]}
            | {
                field: value
                for field, value in db.rows("select field, value from fapiao_buyer where account=?", (claim.account,))
                if value
            }
        )
        found += _rows(
            document,
            {
                "invoice": claim.number,
                "period": claim.period,
                **buyer,
                "currency": document["currency"],
                "fapiao": number_of(db, claim.number),
            },
        )
    return found


def _rows(document: dict[str, Any], same: dict[str, Any]) -> list[dict[str, Any]]:
    words, currency = words_in("zh"), document["currency"]
    tax = next((one for one in document["lines"] if one.get("kind") == "tax"), None)
    lines = [one for one in document["lines"] if one.get("kind") != "tax" and one["amount_micros"]]
    left, minor = tax["amount_micros"] if tax else 0, MINOR_MICROS[currency]
    found = []
    for at, line in enumerate(lines, start=1):
        share = (
            left
            if at == len(lines)
            else line["amount_micros"] * tax["amount_micros"] // tax["base_micros"] // minor * minor
            if tax
            else 0
        )
        left -= share
        used = line.get("kind", "usage") == "usage"
        found.append(
            {
                **same,
                "item": line["model"] if used else title(line, words, currency),
                "quantity": line.get("units", 1) if used else 1,
                "amount": decimal(line["amount_micros"]),
                "tax_rate": f"{tax['rate_ppm'] / 10_000:g}%" if tax else "",
                "tax": decimal(share),
                "total": decimal(line["amount_micros"] + share),
            }
        )
    found += [
        {
            **same,
            "item": one["reason"],
            "quantity": 1,
            "amount": decimal(one["amount_micros"]),
            "tax_rate": "",
            "tax": "0",
            "total": decimal(one["amount_micros"]),
        }
        for one in document.get("credits", ())
    ]
    return found
