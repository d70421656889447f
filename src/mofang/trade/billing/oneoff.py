"""Charges made once: a lease's fee, a customer's own fine-tune, a solution. Each stands on one line of at most one invoice.

A charge is a row of the journal ``charges`` and is never changed; what was charged wrongly is given back by a credit note. It
counts at once against what the customer may spend (``balance``), and stands on the next bill.
Its line traces to ``source_entry``, the ledger entry of what was delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mofang.core.action import Act, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import LARGEST_MICROS, format_micros, round_half_even_minor
from mofang.trade.accounts.customers import find_customer

JOURNAL = "charges"
Kind = Literal["lease", "customisation", "solution", "other"]
KINDS = get_args(Kind)
WHAT_MOST = 200
COLUMNS = "id, account, kind, what, micros, currency, source_entry, reference, at_us"

TABLES = (
    """create table if not exists oneoff(id text primary key, account text not null, kind text not null, what text not null,
        micros bigint not null, currency text not null, source_entry text not null,
        reference text not null, at_us bigint not null,
        unique(account, kind, reference))""",
)

SUMS = """coalesce((select sum(micros) from oneoff where account=?), 0),
            coalesce((select sum(micros) from oneoff where account=? and at_us>=?), 0)"""


@dataclass(frozen=True)
class OneOff:
    """One charge. ``repeated`` where the same reference had been charged before and nothing was added."""

    id: str
    account: str
    kind: str
    what: str
    micros: int
    currency: str
    source_entry: str
    reference: str
    at_us: int
    repeated: bool = False


@fold(JOURNAL, tables=TABLES)
def fold_charges(db: Database, rows: list[Row]) -> None:
    """Each row is one charge."""
    for row in rows:
        body = row.body
        db.run(
            "insert into oneoff values(?,?,?,?,?,?,?,?,?)",
            (
                row.id,
                row.account,
                body["kind"],
                body["what"],
                body["micros"],
                body["currency"],
                body["source_entry"],
                body["reference"],
                row.at_us,
            ),
        )


def oneoffs(db: Database, account: str = "") -> list[OneOff]:
    """All charges, or one customer's, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    return [OneOff(*row) for row in db.rows(f"select {COLUMNS} from oneoff{condition} order by at_us, id", params)]


def charge(
    act: Act, customer: str, kind: Kind, what: str, micros: int, currency: str, source_entry: str, *, reference: str = ""
) -> OneOff:
    """Charge a customer once for something delivered; to be called by the action that delivers it, also inside its transaction.

    ``micros`` is a whole number of the currency's minor units. ``reference`` (default: ``source_entry``) names what is
    charged: the same one twice is one charge, with another amount it is refused. Raises ``charge-amount``,
    ``charge-differs``, ``charge-kind``, ``charge-test-customer`` and ``currency-other``.
    """
    if kind not in KINDS or not 0 < len(what.strip()) <= WHAT_MOST:
        raise MofangError("charge-kind", kind=kind, known=", ".join(KINDS), most=WHAT_MOST)
    if not 0 < micros <= LARGEST_MICROS or round_half_even_minor(micros, currency) != micros:
        raise MofangError("charge-amount", micros=micros)
    named = reference or source_entry
    with turn(act, JOURNAL) as db:
        found = find_customer(db, customer)
        if found.test:
            raise MofangError("charge-test-customer", customer=found.name)
        if found.currency != currency:
            raise MofangError("currency-other", text=format_micros(micros, currency), currency=found.currency)
        for one in oneoffs(db, found.id):
            if (one.kind, one.reference) == (kind, named):
                if one.micros != micros:
                    raise MofangError("charge-differs", reference=named, booked=format_micros(one.micros, currency))
                return OneOff(**{**one.__dict__, "repeated": True})
        body = {
            "kind": kind,
            "what": what.strip(),
            "micros": micros,
            "currency": currency,
            "source_entry": source_entry,
            "reference": named,
        }
        row = act.record(JOURNAL, NewRow("charge", body, account=found.id))[0]
    return OneOff(row.id, found.id, kind, what.strip(), micros, currency, source_entry, named, row.at_us)
