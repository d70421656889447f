"""What leaves the shop by itself: bills, payments, credits, charges and what was noticed, told to webhooks and to Stripe.

Nothing is queued apart: an event is a row that a journal holds anyway, and an endpoint is told all that came after it was
added. Journal ``outbox`` keeps who is told, what was tried and what arrived. Delivered is at least once: a try is written down
before it is made, so that after a kill it is made again, under the same id, by which the other side knows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.data.remote.address import read_private
from mofang.data.remote.definition import NAME
from mofang.serve.boundary import attempt
from mofang.trade.accounts.lists import open_books

JOURNAL = "outbox"
EVENTS = {
    ("invoices", "issued"): "invoice.issued",
    ("customers", "top-up"): "payment.booked",
    ("customers", "credit-note"): "credit.given",
    ("charges", "charge"): "charge.made",
    ("limits", "low"): "budget.passed",
    ("jobs", "unusual"): "usage.unusual",
    ("jobs", "differs"): "reconcile.differs",
}
TRIES_MOST = 16  # with the pauses below: about four days
PAUSE_S, PAUSE_MOST_S = 30, 6 * 3600
CLAIM_S = 120  # for so long a try belongs to who began it
AT_ONCE = 200
WITHIN_S = 60.0
SIDE_BY_SIDE = 16  # endpoints
PASSED_LEAST, LONG_AGO_US = 1000, 3_600_000_000  # events, before those that are done with are left behind
Kind = Literal["webhook", "stripe"]
TABLES = (
    "create table if not exists endpoint(name text primary key, body text not null, after_position bigint not null)",
    """create table if not exists delivery(endpoint text not null, event text not null, tries integer not null,
        next_us bigint not null,
        done_us bigint not null, said text not null, first_us bigint not null, primary key(endpoint, event))""",
    """create table if not exists counterpart(endpoint text not null, account text not null, id text not null,
        primary key(endpoint, account))""",
)


@dataclass(frozen=True)
class Endpoint:
    """Who is told: an address, the name of its secret in the key ring, and which machines of one's own it may be."""

    name: str
    kind: str
    url: str
    secret: str = ""
    private: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """One thing to tell; ``id`` is the id of the row that it is, and never changes."""

    id: str
    type: str
    account: str
    at_us: int
    body: dict[str, Any]
    tries: int = 0
    first_us: int = 0

    def told(self) -> dict[str, Any]:
        """As it is sent: what happened, to whom, when; amounts in micros."""
        return {
            "id": self.id,
            "type": self.type,
            "account": self.account,
            "at_us": self.at_us,
            "data": {name: value for name, value in self.body.items() if name != "by"},
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one try: ``said`` is ``ok`` or why not; ``again`` whether it is tried later."""

    endpoint: str
    event: str
    ok: bool
    said: str
    again: bool


@fold(JOURNAL, tables=TABLES)
def fold_outbox(db: Database, rows: list[Row]) -> None:
    """Endpoints, tries and what arrived."""
    for row in rows:
        body = row.body
        if row.kind == "add":
            told = json.dumps(body["endpoint"], sort_keys=True)
            db.run(
                "insert into endpoint values(?,?,?) on conflict(name) do update set body=excluded.body",
                (body["name"], told, body["after"]),
            )
        elif row.kind == "remove":
            db.run("delete from endpoint where name=?", (body["name"],))
        elif row.kind == "try":
            db.run(
                """insert into delivery values(?,?,1,?,0,'',?) on conflict(endpoint, event) do update set
                tries=delivery.tries+1, next_us=excluded.next_us""",
                (body["endpoint"], body["event"], body["until_us"], row.at_us),
            )
        elif row.kind == "told":
            db.run(
                "update delivery set done_us=?, next_us=?, said=? where endpoint=? and event=?",
                (row.at_us if body["ok"] else 0, body["next_us"], body["said"], body["endpoint"], body["event"]),
            )
        elif row.kind == "again":
            db.run("update delivery set tries=0, next_us=0 where endpoint=? and done_us=0", (body["name"],))
        elif row.kind == "passed":
            sql = "update endpoint set after_position=? where name=? and after_position<?"
            db.run(sql, (body["after"], body["endpoint"], body["after"]))
        elif row.kind == "counterpart":
            db.run(
                "insert into counterpart values(?,?,?) on conflict(endpoint, account) do update set id=excluded.id",
                (body["endpoint"], row.account, body["id"]),
            )


def endpoints(db: Database) -> list[Endpoint]:
    """Who is told, by name."""
    found = []
    for name, body in db.rows("select name, body from endpoint order by name"):
        told = json.loads(body)
        found.append(Endpoint(name, told["kind"], told["url"], told["secret"], tuple(told["private"])))
    return found


def endpoint_named(db: Database, name: str) -> Endpoint:
    """One endpoint. Raises ``endpoint-unknown`` with the nearest."""
    known = {one.name: one for one in endpoints(db)}
    if name not in known:
        raise MofangError("endpoint-unknown", name=name, nearest=nearest(name, known))
    return known[name]


@action(may="money")
def outbox_add(
    act: Act, *, name: str, url: str, kind: Kind = "webhook", secret: str = "", allow_private: tuple[str, ...] = ()
) -> Endpoint:
    """Tell an address of every bill, payment, credit, charge, budget that was passed and fault that was found, from now on.

    ``kind`` stripe takes Stripe's own address (``https://api.stripe.com``) and a secret; a webhook's secret is optional, since
    everything is signed by the shop's key. Public addresses on ports 80 and 443 are reached, and machines of one's own that
    ``allow_private`` names. Raises ``endpoint-address`` and ``endpoint-secret``.
    """
    if not NAME.fullmatch(name):
        raise MofangError("name-invalid", name=name)
    if kind == "stripe" and not secret:
        raise MofangError("endpoint-secret", name=name)
    made = Endpoint(name, kind, _address(url), secret, tuple(map(read_private, allow_private)))
    open_books(act.shop)
    with turn(act, JOURNAL) as db:
        after = max(
            int(db.rows("select coalesce(max(position), 0) from journal where journal=?", (journal,))[0][0])
            for journal, _ in EVENTS
        )
        told = {"kind": made.kind, "url": made.url, "secret": made.secret, "private": list(made.private)}
        act.record(JOURNAL, NewRow("add", {"name": name, "endpoint": told, "after": after}))
    return made


@action(may="money")
def outbox_remove(act: Act, *, name: str) -> Endpoint:
    """Tell an address no more."""
    with turn(act, JOURNAL) as db:
        found = endpoint_named(db, name)
        act.record(JOURNAL, NewRow("remove", {"name": name}))
    return found


@action(may="money")
def outbox_again(act: Act, *, name: str) -> Endpoint:
    """Try at once, and as often as at first, what an address has not taken."""
    with turn(act, JOURNAL) as db:
        found = endpoint_named(db, name)
        act.record(JOURNAL, NewRow("again", {"name": name}))
    return found


def _address(url: str) -> str:
    """An address of http or https without password or fragment. Raises ``endpoint-address``."""
    try:
        parts = urlsplit(url.strip())
        good = (
            parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.fragment and parts.port != 0
        )
    except ValueError:
        good = False
    if not good or not url.isascii() or any(sign in url.strip() for sign in " \r\n\t\\"):
        raise MofangError("endpoint-address", url=url[:200])
    return url.strip()


def pending(db: Database, endpoint: Endpoint, most: int = AT_ONCE) -> list[Event]:
    """What an endpoint has not been told yet, oldest first, with how often it was tried; resting and given-up ones left out."""
    marks = " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    sql = f"""select journal, kind, journal.id, account, at_us, journal.body, coalesce(tries, 0), coalesce(first_us, 0)
        from journal
        join endpoint on endpoint.name=? left join delivery on delivery.endpoint=endpoint.name and delivery.event=journal.id
        where ({marks}) and position>after_position and coalesce(done_us, 0)=0 and coalesce(next_us, 0)<=?
        and coalesce(tries, 0)<?
        order by position limit ?"""
    params = (endpoint.name, *(part for pair in EVENTS for part in pair), now_us(), TRIES_MOST, most)
    return [
        Event(id, EVENTS[journal, kind], account, at_us, json.loads(body), int(tries), int(first_us))
        for journal, kind, id, account, at_us, body, tries, first_us in db.rows(sql, params)
    ]


def given_up(db: Database) -> list[tuple[str, int]]:
    """How many events each endpoint has not taken after the last try."""
    sql = "select endpoint, count(*) from delivery where done_us=0 and tries>=? group by endpoint order by endpoint"
    return [(name, int(count)) for name, count in db.rows(sql, (TRIES_MOST,))]


def waiting_at(db: Database, place: int) -> tuple[bool, int]:
    """Whether anything to tell was written after a place in the journals, and the newest place; quick enough for every second."""
    newest = int(db.rows("select coalesce(max(position), 0) from journal")[0][0])
    if newest <= place:
        return False, newest
    marks = " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    sql = f"select 1 from journal where position>? and position<=? and ({marks}) limit 1"
    return bool(db.rows(sql, (place, newest, *(part for pair in EVENTS for part in pair)))), newest


@dataclass(frozen=True)
class Standing:
    """What one endpoint has not been told: how many events are due, since when the oldest, and how many were given up."""

    endpoint: str
    waiting: int
    oldest_us: int
    given_up: int


def standing(db: Database) -> list[Standing]:
    """Where each endpoint stands."""
    marks = " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    sql = f"""select count(*), coalesce(min(at_us), 0), coalesce(sum(case when coalesce(tries, 0)>=? then 1 else 0 end), 0)
        from journal join endpoint on endpoint.name=?
        left join delivery on delivery.endpoint=endpoint.name and delivery.event=journal.id
        where ({marks}) and position>after_position and coalesce(done_us, 0)=0"""
    found = []
    for one in endpoints(db):
        params = (TRIES_MOST, one.name, *(part for pair in EVENTS for part in pair))
        every, oldest_us, lost = (int(value) for value in db.rows(sql, params)[0])
        found.append(Standing(one.name, every - lost, oldest_us, lost))
    return found


Post = Callable[[Shop, Endpoint, Event], str]


def send_all(shop: Shop, post: Post, *, within_s: float = WITHIN_S) -> list[Outcome]:
    """Tell every endpoint what it has not been told, once each; safe to run at any time and by several at once.

    ``post`` makes the try and returns what to remember (an id there, or nothing); what it raises is written down, and tried again
    after a pause that doubles from half a minute to six hours. Endpoints are told side by side, so that one which does not
    answer keeps no other waiting; after ``within_s`` seconds no new try is begun, the rest is for the next time.
    """
    found = endpoints(open_books(shop))
    until_s = time.monotonic() + within_s
    if len(found) < 2:
        return [outcome for one in found for outcome in _send(shop, one, post, until_s)]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(found), SIDE_BY_SIDE), "outbox") as pool:
        told = list(pool.map(lambda one: _send_apart(shop, one, post, until_s), found))
    return [outcome for outcomes in told for outcome in outcomes]


def _send_apart(shop: Shop, endpoint: Endpoint, post: Post, until_s: float) -> list[Outcome]:
    """The same on connections of its own."""
    own = shop.again()
    try:
        return _send(own, endpoint, post, until_s)
    finally:
        own.control.close()
        own.ledger.db.close()


def _send(shop: Shop, endpoint: Endpoint, post: Post, until_s: float) -> list[Outcome]:
    """Tell one endpoint what it has not been told, until it fails."""
    outcomes = []
    for event in pending(shop.control, endpoint):
        if time.monotonic() > until_s:
            break
        if not _begin(shop, endpoint, event):
            continue  # somebody else has just begun it
        fault = attempt(partial(_post, post, shop, endpoint, event))
        ok = fault is None
        said = "ok" if ok else fault.code if isinstance(fault, MofangError) else type(fault).__name__
        pause_s = min(PAUSE_MOST_S, PAUSE_S << min(event.tries, 20))
        told = {
            "endpoint": endpoint.name,
            "event": event.id,
            "ok": ok,
            "said": said,
            "next_us": 0 if ok else now_us() + pause_s * 1_000_000,
        }
        shop.journals.record(JOURNAL, [NewRow("told", told)])
        outcomes.append(Outcome(endpoint.name, event.id, ok, said, not ok and event.tries + 1 < TRIES_MOST))
        if not ok:
            break  # whoever does not answer is not asked for the rest too; events may arrive in another order
    if outcomes:
        _pass_on(shop, endpoint)
    return outcomes


def _post(post: Post, shop: Shop, endpoint: Endpoint, event: Event) -> None:
    post(shop, endpoint, event)


def _pass_on(shop: Shop, endpoint: Endpoint) -> None:
    """Look no more at events that were all told long ago, so that a look takes no longer after years than on the first day.

    Only what is older than an hour is left behind: in PostgreSQL a row that is not committed yet may still come before others.
    """
    db, marks = shop.control, " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    sql = f"""select count(*), min(case when coalesce(done_us, 0)=0 then position end), max(case when at_us<? then position end)
        from journal join endpoint on endpoint.name=?
        left join delivery on delivery.endpoint=endpoint.name and delivery.event=journal.id
        where ({marks}) and position>after_position"""
    params = (now_us() - LONG_AGO_US, endpoint.name, *(part for pair in EVENTS for part in pair))
    every, open_, old = db.rows(sql, params)[0]
    if every < PASSED_LEAST or old is None:
        return
    after = int(old) if open_ is None else min(int(old), int(open_) - 1)
    if db.rows("select 1 from endpoint where name=? and after_position<?", (endpoint.name, after)):
        shop.journals.record(JOURNAL, [NewRow("passed", {"endpoint": endpoint.name, "after": after})])


def _begin(shop: Shop, endpoint: Endpoint, event: Event) -> bool:
    """Write the try down, unless somebody else did so since we looked."""
    with shop.control.transaction():
        shop.journals.append(JOURNAL, [], writer="hand")  # one at a time
        row = shop.control.rows("select tries from delivery where endpoint=? and event=?", (endpoint.name, event.id))
        if (int(row[0][0]) if row else 0) != event.tries:
            return False
        until = now_us() + CLAIM_S * 1_000_000
        shop.journals.append(
            JOURNAL, [NewRow("try", {"endpoint": endpoint.name, "event": event.id, "until_us": until})], writer="hand"
        )
    return True
