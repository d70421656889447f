"""The books of an export: ledger, names, journals, customers, keys (never their secrets), prices and invoices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.ledger import COLUMNS as ENTRY_COLUMNS
from mofang.core.ledger import content_digest
from mofang.takeout.folder import Folder, moment_of

if TYPE_CHECKING:
    from mofang.core.shop import Shop

ROW_COLUMNS = ("position", "writer", "seq", "id", "at", "at_us", "owner", "account", "kind", "body", "chain")
USE = ("request_id", "key", "model", "package", "units", "price", "rate", "micros", "test")
LINE = ("line", "kind", "what", "model", "package", "price_version", "price_micros", "plan", "units", "requests", "exact_micros",
        "amount_micros", "source_entry", "merkle_root")


def write_ledger(folder: Folder, db: Database) -> list[Any]:
    """``ledger.jsonl`` and ``names.csv``; the number of entries and the last link of the chain."""
    head: list[Any] = [0, ""]

    def lines() -> Iterator[bytes]:
        for page in db.pages(f"select {ENTRY_COLUMNS} from entry order by seq"):
            for seq, id, kind, key, owner, at_us, body, chain in page:
                head[:] = [seq, chain]
                content = content_digest(id, kind, key, owner, at_us, body)
                yield orjson.dumps({"seq": seq, "id": id, "kind": kind, "at": moment_of(at_us), "at_us": at_us, "key": key,
                                    "owner": owner, "content": content, "chain": chain, "body": orjson.Fragment(body)}) + b"\n"

    folder.write("ledger.jsonl", lines())
    names = db.rows("select name, version, kind, entry, owner from name order by name, version")
    folder.table("names.csv", ("name", "version", "kind", "entry", "owner"), names)
    return head


def write_journals(folder: Folder, db: Database) -> None:
    """Each journal as JSON lines and as CSV, in one reading of all rows."""
    for (journal,) in db.rows("select distinct journal from journal order by journal"):
        folder.write(f"journals/{journal}.jsonl", _journal_lines(db, journal))
        folder.table(f"journals/{journal}.csv", ROW_COLUMNS, (tuple(row.values()) for row in _journal(db, journal)))
    folder.table("usage.csv", ("at", "account", *USE), _uses(db))


def _journal(db: Database, journal: str) -> Iterator[dict[str, Any]]:
    sql = """select position, writer, seq, id, at_us, owner, account, kind, body, chain from journal
             where journal=? order by position"""
    if db.dialect == "sqlite":
        sql = sql.replace("where journal=?", "where +journal=?")  # in the order of the file, not sorted anew
    for page in db.pages(sql, (journal,)):
        for position, writer, seq, id, at_us, owner, account, kind, body, chain in page:
            yield {"position": position, "writer": writer, "seq": seq, "id": id, "at": moment_of(at_us), "at_us": at_us,
                   "owner": owner, "account": account, "kind": kind, "body": body, "chain": chain}


def _journal_lines(db: Database, journal: str) -> Iterator[bytes]:
    for row in _journal(db, journal):
        row["body"] = orjson.Fragment(row["body"])
        yield orjson.dumps(row) + b"\n"


def _uses(db: Database) -> Iterator[tuple[Any, ...]]:
    """One line for each answered request."""
    for row in _journal(db, "usage"):
        if row["kind"] == "use":
            body = orjson.loads(row["body"])
            yield (row["at"], row["account"], *(body.get(name) for name in USE))


def write_trade(folder: Folder, shop: Shop, ledger: Database, control: Database) -> None:
    """Customers, keys, prices, money in and charges made once, and invoices as tables; every invoice as PDF and JSON."""
    from mofang.trade.accounts.customers import customers
    from mofang.trade.accounts.keys import keys
    from mofang.trade.billing.claims import invoices_of
    from mofang.trade.pricing.prices import prices

    names = {one.id: one.name for one in customers(control)}
    folder.table("customers.csv", ("id", "name", "currency", "credit_micros", "topped_up_micros", "test", "since"),
                 ((one.id, one.name, one.currency, one.credit_micros, one.topped_up_micros, one.test, moment_of(one.created_us))
                  for one in customers(control)))
    folder.table("keys.csv", ("id", "customer", "test", "models", "label", "made", "expires", "revoked"),
                 ((one.id, names.get(one.account, one.account), one.test, " ".join(one.models) or "*", one.label,
                   moment_of(one.created_us), moment_of(one.expires_us), moment_of(one.revoked_us)) for one in keys(control)))
    folder.table("prices.csv", ("model", "version", "kind", "per_1000_units", "currency", "from", "output", "plan"),
                 ((one.model, one.version, one.plan["kind"], one.exact(1000), one.currency, moment_of(one.from_us), one.output,
                   canonical(one.plan).decode()) for one in prices(control)))
    _write_money(folder, control, names)
    rows, lines = [], []
    for claim in invoices_of(control):
        row = (claim.number, names.get(claim.account, claim.account), claim.account, claim.period, claim.total_micros)
        rows.append((*row, "issued" if claim.entry else "claimed"))
        parts = {part[0]: part[2] for part in _parts(ledger, claim.entry)} if claim.entry else {}
        for kind in ("pdf", "json"):
            if digest := parts.get(f"invoice.{kind}"):
                folder.take(f"invoices/{claim.number}.{kind}", digest, shop.store)
        place = folder.place / "invoices" / f"{claim.number}.json"
        if f"invoices/{claim.number}.json" in folder.digests:
            document = json.loads(place.read_bytes())
            lines += [(claim.number, *({"kind": "usage", **line}.get(name) for name in LINE)) for line in document["lines"]]
    folder.table("invoices.csv", ("number", "customer", "account", "period", "total_micros", "state"), rows)
    folder.table("invoice-lines.csv", ("number", *LINE), lines)


def _write_money(folder: Folder, control: Database, names: dict[str, str]) -> None:
    """What was paid, given back, charged once and subscribed to."""
    from mofang.trade.accounts.customers import credit_notes
    from mofang.trade.accounts.terms import subscriptions
    from mofang.trade.billing.oneoff import oneoffs
    from mofang.trade.billing.paid import payments

    folder.table("payments.csv", ("customer", "reference", "micros", "at", "by", "until", "lapsed_micros"),
                 ((names.get(one.customer, one.customer), one.reference, one.micros, moment_of(one.at_us), one.way, one.until,
                   one.lapsed_micros) for one in payments(control)))
    folder.table("credits.csv", ("id", "customer", "reason", "micros", "at"),
                 ((one.id, names.get(one.customer, one.customer), one.reason, one.micros, moment_of(one.at_us))
                  for one in credit_notes(control)))
    folder.table("charges.csv", ("id", "customer", "kind", "what", "micros", "currency", "source_entry", "reference", "at"),
                 ((one.id, names.get(one.account, one.account), one.kind, one.what, one.micros, one.currency, one.source_entry,
                   one.reference, moment_of(one.at_us)) for one in oneoffs(control)))
    folder.table("subscriptions.csv", ("id", "customer", "model", "monthly_micros", "included", "first", "last"),
                 ((one.id, names.get(one.account, one.account), one.model, one.monthly_micros, one.included, one.first, one.last)
                  for one in subscriptions(control)))


def _parts(ledger: Database, entry: str) -> list[list[Any]]:
    """The parts of what an entry made."""
    found = ledger.rows("select body from entry where id=?", (entry,))
    parts: list[list[Any]] = (orjson.loads(found[0][0]).get("output") or {}).get("parts", []) if found else []
    return parts
