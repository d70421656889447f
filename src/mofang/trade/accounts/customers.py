"""Customers: who buys, in which currency, how much on credit each month, and what was paid in advance.

What a customer may spend now is what was topped up and is unspent, and beyond it the credit of the calendar month
(UTC+8). A credit limit of zero makes a purely prepaid customer. Every change is a row of the journal ``customers``.
When a bill is issued, what it says beyond the use that was debited (tax, fees, a plan's price below the dearest, rounding) is
``settled`` against what was paid, so that the balance is what was paid less what was billed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from mofang.core import lock
from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import format_micros, known, parse_amount, round_half_even_minor
from mofang.core.nearest import nearest
from mofang.core.rule import Rule
from mofang.trade.accounts import terms

DEFAULT_CREDIT = "1000"

TABLES = (
    """create table if not exists account(account text primary key, name text not null unique, currency text not null,
        credit_micros bigint not null, topped_up_micros bigint not null, test integer not null,
        created_us bigint not null)""",
    """create table if not exists topup(account text not null, reference text not null, micros bigint not null,
        at_us bigint not null, primary key(account, reference))""",
    """create table if not exists credit_note(id text primary key, account text not null, reason text not null,
        micros bigint not null, at_us bigint not null, unique(account, reason))""",
    "create table if not exists priority(account text primary key, line bigint not null)",
    "create table if not exists keep_texts(account text primary key, days integer not null)",
    """create table if not exists topup_more(account text not null, reference text not null, way text not null,
        until text not null, lapsed_micros bigint not null, lapsed_us bigint not null, primary key(account, reference))""",
    """create table if not exists settled(number text primary key, account text not null, micros bigint not null)""",
    """create table if not exists line_credit(id text primary key, account text not null, number text not null,
        line integer not null, units bigint not null, micros bigint not null)""",
    *terms.TABLES,
)
LINES = {"high": 0, "normal": 1, "low": 2}  # the lines of serve.batching


@dataclass(frozen=True)
class Customer:
    """One customer as the journal has left it. Amounts in micros of the currency."""

    id: str
    name: str
    currency: str
    credit_micros: int
    topped_up_micros: int
    test: bool
    created_us: int


@dataclass(frozen=True)
class TopUp:
    """A payment in advance; ``repeated`` where the same reference had been booked before and nothing was added."""

    customer: str
    reference: str
    micros: int
    currency: str
    repeated: bool = False


@dataclass(frozen=True)
class CreditNote:
    """Money given back for what was charged; ``repeated`` where this reason had been booked before."""

    id: str
    customer: str
    reason: str
    micros: int
    at_us: int
    repeated: bool = False


@fold("customers", tables=TABLES)
def fold_customers(db: Database, rows: list[Row]) -> None:
    """New customers, changed limits, top-ups and credit notes; a note can be spent like a payment."""
    for row in rows:
        body = row.body
        if row.kind == "customer":
            db.run("insert into account values(?,?,?,?,0,?,?)",
                   (row.account, body["name"], body["currency"], body["credit_micros"], int(body["test"]), row.at_us))
        elif row.kind == "limit":
            db.run("update account set credit_micros=? where account=?", (body["credit_micros"], row.account))
        elif row.kind == "top-up":
            db.run("insert into topup values(?,?,?,?)", (row.account, body["reference"], body["micros"], row.at_us))
            if body.get("way") or body.get("until"):
                db.run("insert into topup_more values(?,?,?,?,0,0)",
                       (row.account, body["reference"], body.get("way", ""), body.get("until", "")))
            _pay_in(db, row)
        elif row.kind == "lapse":
            db.run("update topup_more set lapsed_micros=?, lapsed_us=? where account=? and reference=?",
                   (body["micros"], row.at_us, row.account, body["reference"]))
            db.run("update account set topped_up_micros=topped_up_micros-? where account=?", (body["micros"], row.account))
        elif row.kind == "settled":
            db.run("insert into settled values(?,?,?)", (body["number"], row.account, body["micros"]))
            db.run("update account set topped_up_micros=topped_up_micros-? where account=?", (body["micros"], row.account))
        elif row.kind == "priority":
            db.run("insert into priority values(?,?) on conflict(account) do update set line=excluded.line",
                   (row.account, body["line"]))
        elif row.kind == "credit-note":
            db.run("insert into credit_note values(?,?,?,?,?)", (row.id, row.account, body["reason"], body["micros"], row.at_us))
            if "number" in body:
                db.run("insert into line_credit values(?,?,?,?,?,?)",
                       (row.id, row.account, body["number"], body["line"], body["units"], body["micros"]))
            _pay_in(db, row)
        elif row.kind == "keep":
            db.run("insert into keep_texts values(?,?) on conflict(account) do update set days=excluded.days",
                   (row.account, body["days"]))
        else:
            terms.fold_agreed(db, row)


def _pay_in(db: Database, row: Row) -> None:
    db.run("update account set topped_up_micros=topped_up_micros+? where account=?", (row.body["micros"], row.account))


def kept_days(db: Database) -> dict[str, int]:
    """For how many days the texts of a customer's requests are kept, for those whose plan says so."""
    return {row[0]: int(row[1]) for row in db.rows("select account, days from keep_texts where days>0")}


def credit_notes(db: Database, account: str = "") -> list[CreditNote]:
    """All credit notes, or one customer's, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    sql = f"select id, account, reason, micros, at_us from credit_note{condition} order by at_us, id"
    return [CreditNote(*row) for row in db.rows(sql, params)]


COLUMNS = "account, name, currency, credit_micros, topped_up_micros, test, created_us"


def customers(db: Database) -> list[Customer]:
    """All customers, oldest first."""
    return [_customer(row) for row in db.rows(f"select {COLUMNS} from account order by account")]


def priorities(db: Database) -> dict[str, int]:
    """In which line the requests of a customer wait, where it is not the middle one."""
    return {account: int(line) for account, line in db.rows("select account, line from priority") if line != LINES["normal"]}


def find_customer(db: Database, name: str) -> Customer:
    """A customer by name, or by id or its unique beginning; a wrong name is answered with the nearest."""
    exact = db.rows(f"select {COLUMNS} from account where name=? or account=?", (name, name))
    if exact:
        return _customer(exact[0])
    everybody = customers(db)
    begins = [one for one in everybody if len(name) >= 6 and one.id.startswith(name)]
    if len(begins) == 1:
        return begins[0]
    if not everybody:
        raise MofangError("customers-none")
    raise MofangError("customer-unknown", name=name, nearest=nearest(name, [one.name for one in everybody]))


def _customer(row: tuple[Any, ...]) -> Customer:
    account, name, currency, credit, topped_up, test, created = row
    return Customer(account, name, currency, credit, topped_up, bool(test), created)


Name = Annotated[str, Rule(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]


@action(may="money")
def customer_new(act: Act, *, name: Name, currency: str = "CNY", credit: str = DEFAULT_CREDIT,
                 test: bool = False) -> Customer:
    """Take on a customer, with a hard monthly credit limit.

    ``credit`` is an amount such as ``1000`` or ``¥500.00``; ``0`` makes a prepaid customer. A ``test`` customer
    gets test keys only and never an invoice.
    """
    micros = parse_amount(credit, known(currency))
    account = new_id("cus")
    with turn(act, "customers") as db:
        if db.rows("select 1 from account where name=?", (name,)):
            raise MofangError("customer-exists", name=name)
        body = {"name": name, "currency": currency, "credit_micros": micros, "test": test}
        row = act.record("customers", NewRow("customer", body, account=account))[0]
    return Customer(account, name, currency, micros, 0, test, row.at_us)


@action(may="money")
def customer_limit(act: Act, *, customer: str, credit: str) -> Customer:
    """Change a customer's monthly credit limit; what a server has set aside already stays usable."""
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        micros = parse_amount(credit, found.currency)
        act.record("customers", NewRow("limit", {"credit_micros": micros}, account=found.id))
    return find_customer(db, found.id)


@action(may="money")
def customer_priority(act: Act, *, customer: str, priority: Literal["high", "normal", "low"]) -> Customer:
    """Say in which line a customer's requests wait where a server is busy; running servers follow within a second."""
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        act.record("customers", NewRow("priority", {"line": LINES[priority]}, account=found.id))
    return found


@action(may="money")
def customer_top_up(act: Act, *, customer: str, amount: str,
                    reference: Annotated[str, Rule(min_length=1, max_length=200)]) -> TopUp:
    """Book a payment in advance. The same reference twice is one payment.

    ``reference`` names the payment (a transfer number, an order id): sending it again changes nothing, sending it
    with another amount is refused. Without such a name a repeated call would credit twice.
    """
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        micros = parse_amount(amount, found.currency)
        sql = "select micros from topup where account=? and reference=?"
        before = db.rows(sql, (found.id, reference))
        if before and before[0][0] != micros:
            raise MofangError("top-up-differs", reference=reference,
                              booked=format_micros(before[0][0], found.currency))
        if micros == 0:
            raise MofangError("top-up-empty")
        if not before:
            act.record("customers", NewRow("top-up", {"reference": reference, "micros": micros}, account=found.id))
    return TopUp(found.id, reference, micros, found.currency, repeated=bool(before))


@action(may="money")
def credit_note(act: Act, *, customer: str, amount: str,
                reason: Annotated[str, Rule(min_length=3, max_length=200)]) -> CreditNote:
    """Give back part of what a customer was charged: it may be spent at once, and stands on the next invoice.

    Usage rows are never changed; the note says beside them why less is owed. The same reason twice is one note; with
    another amount it is refused. No more can be given back than was charged, and only what can be paid (whole cents).
    """
    lock.import_fold("usage")
    act.shop.journals.make_tables()
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        micros = parse_amount(amount, found.currency)
        if micros == 0 or round_half_even_minor(micros, found.currency) != micros:
            raise MofangError("credit-note-amount", amount=amount)
        booked = credit_notes(db, found.id)
        for one in booked:
            if one.reason == reason.strip():
                if one.micros != micros:
                    raise MofangError("credit-note-differs", reason=reason, booked=format_micros(one.micros, found.currency))
                return replace(one, repeated=True)
        charged = int(db.rows("select coalesce(sum(micros), 0) from usage_day where account=?", (found.id,))[0][0])
        left = charged - sum(one.micros for one in booked)
        if micros > round_half_even_minor(left, found.currency):
            raise MofangError("credit-note-too-large", customer=found.name, left=format_micros(max(0, left), found.currency))
        row = act.record("customers", NewRow("credit-note", {"reason": reason.strip(), "micros": micros}, account=found.id))[0]
    return CreditNote(row.id, found.id, reason.strip(), micros, row.at_us)


@action(may="money")
def customer_keep(act: Act, *, customer: str, days: Annotated[int, Rule(ge=0, le=3660)]) -> Customer:
    """Keep what a customer asks and is answered, encrypted, for so many days; 0 keeps nothing from now on.

    What is kept already goes at its own time. Without this, no text of a request is kept beyond its answer.
    """
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        act.record("customers", NewRow("keep", {"days": days}, account=found.id))
    return found
