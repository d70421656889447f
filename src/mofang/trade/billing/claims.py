"""Which invoices there are: a number claimed, a document made. Reading them needs nothing that makes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import Row, fold

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
    """A bill as the journal knows it; ``entry`` is empty until the document is made, and so is ``exact_micros``: what was
    used and charged once, before it was rounded, taxed, and notes were taken off."""

    number: str
    account: str
    period: str
    kind: str
    fixed: dict[str, Any]
    entry: str
    total_micros: int
    exact_micros: int | None = None


@fold("invoices", tables=TABLES)
def fold_invoices(db: Database, rows: list[Row]) -> None:
    """Claims take the next number, documents fill them in."""
    for row in rows:
        body = row.body
        if row.kind == "claimed":
            claim = canonical(body["claim"]).decode()
            db.run(f"insert into invoice({COLUMNS}) values(?,?,?,?,?,'',0)",
                   (body["number"], row.account, body["period"], body["kind"], claim))
            db.run("update invoice_series set last=last+1 where id=1")
        elif row.kind == "issued":
            claim = json.loads(db.rows("select claim from invoice where number=?", (body["number"],))[0][0])
            if "exact_micros" in body:
                claim["exact_micros"] = body["exact_micros"]
            db.run("update invoice set entry=?, total_micros=?, claim=? where number=?",
                   (body["entry"], body["total_micros"], canonical(claim).decode(), body["number"]))


def claim_of(row: tuple[Any, ...]) -> Claim:
    """A bill from its row."""
    number, account, period, kind, claim, entry, total_micros = row
    fixed = json.loads(claim)
    exact_micros = fixed.pop("exact_micros", None)
    return Claim(number, account, period, kind, fixed, entry, total_micros, exact_micros)


def find_invoice(db: Database, number: str) -> Claim:
    """An invoice by its number, whatever the case."""
    found = db.rows(f"select {COLUMNS} from invoice where number=?", (number.strip().upper(),))
    if not found:
        last = db.rows("select number from invoice order by number desc limit 1")
        raise MofangError("invoice-unknown", number=number, last=last[0][0] if last else "-")
    return claim_of(found[0])


def invoices_of(db: Database, account: str = "") -> list[Claim]:
    """All invoices, or one account's, in the order of their numbers."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    rows = db.rows(f"select {COLUMNS} from invoice{condition}", params)
    return sorted(map(claim_of, rows), key=lambda claim: claim.fixed["sequence"])
