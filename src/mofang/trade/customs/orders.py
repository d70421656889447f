"""Customisation (客户定制): a customer's own model, taught from a base release and the customer's own records.

An order is quoted, the price is set aside from what the customer may spend, and it is settled when the model is delivered.
The records, every step of the run and the model lie in a room of their own (``room``); here stand name, base, price
and state, and nothing of a record. Every change is a row of the journal ``custom``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson

from mofang.core.action import Act, action, turn
from mofang.core.artifact import Artifact
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import LARGEST_MICROS, MINOR_MICROS, format_micros, parse_amount, round_half_even_minor
from mofang.core.nearest import nearest
from mofang.core.rule import Rule
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer, find_customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.billing.balance import ORDERED, return_expired, return_row
from mofang.trade.billing.spendable import spendable
from mofang.trade.customs.jobs import OPEN, TABLE, WAITING, Job, fold_job, job_of, jobs, worded
from mofang.trade.customs.terms import check_base, estimated_s, spent_on

JOURNAL = "custom"
DAY_US = 86_400_000_000
HELD_US = 7 * DAY_US  # a run that was asked for holds its price so long, also beyond the end of the quote
COLUMNS = """id, account, name, base, entry, basis, micros, hour_micros, estimated_s, expires_us, held, files, records, bytes,
    state, version, delivered, made_us, deleted"""

TABLES = (
    """create table if not exists custom(id text primary key, account text not null, name text not null, base text not null,
        entry text not null, basis text not null, micros bigint not null, hour_micros bigint not null,
        estimated_s bigint not null, expires_us bigint not null, held bigint not null, files bigint not null,
        records bigint not null, bytes bigint not null, state text not null, version bigint not null, delivered text not null,
        made_us bigint not null, deleted text not null)""",
    TABLE,
)


@dataclass(frozen=True)
class Custom:
    """One customisation. ``basis`` is ``fixed`` or ``used`` (settled by the seconds that it took, at most ``micros``).

    ``state``: ordered, declined (taught, but worse than the base), delivered, deleting, deleted. ``held`` is what is set aside
    now, ``delivered`` the ledger entry of the newest delivery, ``deleted`` that of the deletion.
    """

    id: str
    account: str
    name: str
    base: str
    entry: str
    basis: str
    micros: int
    hour_micros: int
    estimated_s: int
    expires_us: int
    held: int
    files: int
    records: int
    bytes: int
    state: str
    version: int
    delivered: str
    made_us: int
    deleted: str


@fold(JOURNAL, tables=TABLES)
def fold_custom(db: Database, rows: list[Row]) -> None:
    """Orders, quotes, files that came, what waits to be run, deliveries and deletions."""
    for row in rows:
        body = row.body
        if row.kind == "order":
            db.run("insert into custom values(?,?,?,?,?,'',0,0,0,0,0,0,0,0,'ordered',0,'',?,'')",
                   (body["custom"], row.account, body["name"], body["base"], body["entry"], row.at_us))
        elif row.kind == "quote":
            db.run("""update custom set basis=?, micros=?, hour_micros=?, estimated_s=?, expires_us=?, held=?, state='ordered'
                where id=?""", (body["basis"], body["micros"], body["hour_micros"], body["estimated_s"], body["expires_us"],
                                body["micros"], body["custom"]))
        elif row.kind == "records":
            db.run("update custom set files=files+1, records=records+?, bytes=bytes+? where id=?",
                   (body["records"], body["bytes"], body["custom"]))
        elif row.kind == "held":
            db.run("update custom set held=? where id=?", (body["micros"], body["custom"]))
        elif row.kind == "declined":
            db.run("update custom set state='declined' where id=?", (body["custom"],))
            if "returned" in body:  # rows of earlier versions kept the hold until the quote's end
                db.run("update custom set held=0 where id=?", (body["custom"],))
        elif row.kind == "cancelled":
            db.run("update custom set held=0 where id=?", (body["custom"],))
        elif row.kind == "delivered":
            db.run("update custom set state='delivered', version=?, delivered=?, held=0 where id=?",
                   (body["version"], body["entry"], body["custom"]))
        elif row.kind == "deleting":
            db.run("update custom set state='deleting', held=0 where id=?", (body["custom"],))
        elif row.kind == "deleted":
            db.run("update custom set state='deleted', deleted=?, held=0 where id=?", (body["entry"], body["custom"]))
        fold_job(db, row)


def customs(db: Database, account: str = "") -> list[Custom]:
    """All customisations, or one customer's, oldest first."""
    condition, params = (" where account=?", (account,)) if account else ("", ())
    return [Custom(*row) for row in db.rows(f"select {COLUMNS} from custom{condition} order by made_us, id", params)]


def find_custom(db: Database, name: str, account: str = "") -> Custom:
    """A customisation by its name or id; another customer's is unknown where ``account`` is given."""
    known = customs(db, account)
    found = [one for one in known if name in (one.name, one.id)]
    alive = [one for one in found if one.state != "deleted"] or found
    if not alive:
        raise MofangError("customise-unknown", name=name, nearest=nearest(name, [one.name for one in known]))
    return alive[-1]


def open_orders(shop: Shop) -> Database:
    """The database of trade, after what was set aside for quotes that have expired was given back."""
    db = open_books(shop)
    return_expired(shop.journals, now_us())
    return db


Name = Annotated[str, Rule(max_length=64)]
Days = Annotated[int, Rule(ge=1, le=366)]
Percent = Annotated[int, Rule(ge=0, le=10_000)]


@dataclass(frozen=True)
class Quote:
    """What a customisation costs. ``micros`` is the price, or the most that it comes to where it is settled by what was used."""

    basis: str
    micros: int
    hour_micros: int
    estimated_s: int


def quote_of(shop: Shop, base: Artifact, currency: str, price: str, margin: int) -> Quote:
    """A fixed price, or the plan's estimate at the machine's rate and a margin in percent; raises ``customise-rate-missing``."""
    if price:
        micros = parse_amount(price, currency)
        if not 0 < micros <= LARGEST_MICROS or round_half_even_minor(micros, currency) != micros:
            raise MofangError("customise-price", price=price)
        return Quote("fixed", micros, 0, spent_on(shop, base))
    hour = shop.rates.get("machine_hour_micros")
    if hour is None or currency != shop.currency:
        raise MofangError("customise-rate-missing")
    seconds, hour = estimated_s(shop, base), int(hour) * (100 + margin) // 100
    return Quote("used", whole(seconds * hour, currency), hour, seconds)


def whole(hour_micro_seconds: int, currency: str) -> int:
    """Seconds times micros an hour as an amount: rounded up to the minor unit, and never nothing."""
    minor = MINOR_MICROS[currency]
    return max(minor, -(-hour_micro_seconds // (3600 * minor)) * minor)


@action(may="money")
def custom_new(act: Act, *, customer: str, base: str, name: Name = "", price: str = "", margin: Percent = 100,
               days: Days = 14, own_run: bool = False) -> Custom:
    """Take an order: a model of ``name`` for a customer, taught from the release ``base`` and the customer's own records.

    ``price`` is fixed; without it the plan's estimate is the most that it costs, and what was used is charged. The amount is
    set aside at once, for as many ``days`` as the quote holds. With ``own_run`` the customer may put the run into the queue with
    an own key. Raises ``customise-unpaid``, ``customise-name-taken``,
    ``customise-base-unsuited``, ``customise-forbidden``, ``customise-test-customer``.
    """
    shop = act.shop
    open_orders(shop)
    named = shop.named(base, "package")
    package = shop.artifact(shop.ledger.get(named.entry))
    check_base(shop, package)
    with turn(act, JOURNAL) as db:
        who = find_customer(db, customer)
        if who.test:
            raise MofangError("customise-test-customer", customer=who.name)
        name = shop.checked_name(name or f"{named.name}-{who.id[-6:]}")
        if shop.newest(name) or any(one.name == name and one.state != "deleted" for one in customs(db)):
            raise MofangError("customise-name-taken", name=name)
        quote = quote_of(shop, package, who.currency, price, margin)
        body = {"custom": new_id("ctm"), "name": name, "base": str(named), "entry": named.entry}
        act.record(JOURNAL, NewRow("order", body, account=who.id))
        _hold(act, db, who, body["custom"], quote, days, own_run)
        return find_custom(db, body["custom"])


@action(may="money")
def custom_quote(act: Act, *, custom: str, price: str = "", margin: Percent = 100, days: Days = 14,
                 own_run: bool = False) -> Custom:
    """Quote anew: where the last quote has expired, or for teaching a delivered model again with more records."""
    shop = act.shop
    open_orders(shop)
    with turn(act, JOURNAL) as db:
        found = alive(find_custom(db, custom))
        require_not_queued(db, found)
        who = find_customer(db, found.account)
        package = base_of(shop, found)
        quote = quote_of(shop, package, who.currency, price, margin)
        give_back(act, db, found)
        _hold(act, db, who, found.id, quote, days, own_run)
        return find_custom(db, found.id)


def alive(custom: Custom) -> Custom:
    """The customisation, or ``customise-deleted``."""
    if custom.state in ("deleting", "deleted"):
        raise MofangError("customise-deleted", name=custom.name)
    return custom


def base_of(shop: Shop, custom: Custom) -> Artifact:
    """The base release as it was ordered; raises ``customise-base-gone`` where it is no longer here."""
    known = [one for one in shop.names("package") if one.entry == custom.entry]
    package = shop.artifact(shop.ledger.get(custom.entry))
    if not known or not package.parts or not all(shop.store.has(part.digest) for part in package.parts):
        raise MofangError("customise-base-gone", base=custom.base)
    check_base(shop, package)
    return package


def holder(custom: str) -> str:
    """The writer in whose name a price is set aside."""
    return f"{ORDERED}{custom}"


def _hold(act: Act, db: Database, who: Customer, custom: str, quote: Quote, days: int, own_run: bool) -> None:
    """Quote, and set the price aside, in the caller's transaction; raises ``customise-unpaid``."""
    expires_us = now_us() + days * DAY_US
    _set_aside(act, db, who, custom, quote.micros, expires_us)
    body = {"custom": custom, "basis": quote.basis, "micros": quote.micros, "hour_micros": quote.hour_micros,
            "estimated_s": quote.estimated_s, "expires_us": expires_us, "own_run": own_run}
    act.record(JOURNAL, NewRow("quote", body, account=who.id))


def _set_aside(act: Act, db: Database, who: Customer, custom: str, micros: int, expires_us: int) -> None:
    """Take an amount out of what the customer may spend."""
    left = spendable(act.shop, db, who.id)
    if micros > left:
        raise MofangError("customise-unpaid", customer=who.name, price=format_micros(micros, who.currency),
                          left=format_micros(left, who.currency))
    row = NewRow("draw", {"micros": micros, "expires_us": expires_us}, account=who.id)
    act.shop.journals.append("usage", [row], writer=holder(custom))


def keep_held(act: Act, db: Database, custom: Custom) -> None:
    """The price stays set aside for a run that is asked for or begins, in the caller's transaction; where it was given back, it
    is set aside again while the quote holds. Raises ``customise-quote-expired`` and ``customise-unpaid``."""
    at_us = now_us()
    sql = "select micros, expires_us from allotment where account=? and worker=?"
    found = [(int(row[0]), int(row[1])) for row in db.rows(sql, (custom.account, holder(custom.id)))]
    until_us = at_us + HELD_US
    if found and found[0][0] >= custom.micros and found[0][1] > at_us:
        if found[0][1] < until_us - DAY_US:
            row = NewRow("draw", {"micros": 0, "expires_us": until_us}, account=custom.account)
            act.shop.journals.append("usage", [row], writer=holder(custom.id))
        return
    if custom.expires_us <= at_us:
        raise MofangError("customise-quote-expired", name=custom.name)
    give_back(act, db, custom)
    _set_aside(act, db, find_customer(db, custom.account), custom.id, custom.micros, max(custom.expires_us, until_us))
    act.record(JOURNAL, NewRow("held", {"custom": custom.id, "micros": custom.micros}, account=custom.account))


def require_not_queued(db: Database, custom: Custom) -> None:
    """Refuse what must not change while an order waits or runs."""
    job = job_of(db, custom.id)
    if job is not None and job.state in OPEN:
        raise MofangError("customise-queued", name=custom.name)


def give_back(act: Act, db: Database, custom: Custom) -> int:
    """End what is set aside for a customisation, in the caller's transaction; how much it was (0: it had expired)."""
    sql = "select micros from allotment where account=? and worker=?"
    held = sum(int(row[0]) for row in db.rows(sql, (custom.account, holder(custom.id))))
    if held:
        act.shop.journals.append("usage", [return_row(custom.account, holder(custom.id), held)], writer=holder(custom.id))
    return held


def facts(shop: Shop, custom: Custom) -> dict[str, Any]:
    """A customisation as JSON, for lists and for its own customer; nothing of a record."""
    currency = find_customer(shop.control, custom.account).currency
    job = job_of(shop.control, custom.id)
    return {"name": custom.name, "id": custom.id, "base": custom.base, "state": standing(custom, job), "version": custom.version,
            "basis": custom.basis, "price": format_micros(custom.micros, currency), "currency": currency,
            "held": format_micros(custom.held, currency), "quote_ends_us": custom.expires_us, "files": custom.files,
            "records": custom.records, **(_queued(shop.control, job) if job is not None else {})}


def standing(custom: Custom, job: Job | None) -> str:
    """In one word how far an order is: ordered, queued, running, stopping, declined, delivered, deleting or deleted."""
    if job is not None and job.state in OPEN and custom.state not in ("deleting", "deleted"):
        return "queued" if job.state == WAITING else job.state
    return custom.state


def _queued(db: Database, job: Job) -> dict[str, Any]:
    """Place, estimated start and progress of an order in the queue; why it was declined, where it was."""
    told: dict[str, Any] = {"may_run": bool(job.allowed)}
    if job.state in OPEN:
        told |= {"asked_us": job.asked_us, "percent": job.percent, "tries": job.tries}
    if job.state == WAITING:
        place, wait_s = place_of(db, job)
        told |= {"place": place, "starts_in_s": wait_s}
    if job.reason:
        told["reason"] = worded(job.reason, orjson.loads(job.told or "{}")).to_dict()
    return told


def place_of(db: Database, job: Job) -> tuple[int, int]:
    """An order's place in the queue, from 1, and in how many seconds it is expected to begin: what the estimates of those before
    it say, shared by as many workers as are busy now."""
    expected = {one.id: max(one.estimated_s, 1) for one in customs(db)}
    ahead, busy, wait_s = 0, 0, 0.0
    for one in jobs(db, *OPEN):
        if one.state != WAITING:
            busy += 1
            wait_s += expected[one.custom] * (100 - one.percent) / 100
        elif (one.asked_us, one.custom) < (job.asked_us, job.custom):
            ahead += 1
            wait_s += expected[one.custom]
    late_s = max(0.0, (job.not_before_us - now_us()) / 1e6)
    return ahead + 1, round(max(wait_s / max(1, busy), late_s))
