"""Who is told of bills and payments, as a page shows it: what waits, how often it was tried, what was answered last."""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import customer_names, open_books
from mofang.trade.telling.sending import EVENTS, TRIES_MOST, Endpoint, endpoint_named, endpoints

EVENTS_SHOWN = 100


@dataclass(frozen=True)
class Told:
    """Somebody who is told: how much arrived, waits now, rests until its next try, and was given up; the last answer,
    when it arrived and, where it did not, when it is tried again."""

    endpoint: Endpoint
    arrived: int
    waiting: int
    resting: int
    lost: int
    said: str
    done_us: int
    next_us: int


@dataclass(frozen=True)
class Sent:
    """One event at one endpoint. ``state``: arrived, waiting, resting (tried again at ``next_us``), lost."""

    event: str
    type: str
    customer: str
    at_us: int
    tries: int
    next_us: int
    done_us: int
    said: str
    state: str


def told_rows(shop: Shop) -> list[Told]:
    """Everybody who is told, by name; events are counted by the database, however many there are."""
    db, at_us = open_books(shop), now_us()
    marks = " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    counted = f"""select count(*), sum(case when coalesce(done_us, 0)<>0 then 1 else 0 end),
        sum(case when coalesce(done_us, 0)=0 and coalesce(tries, 0)>=? then 1 else 0 end),
        sum(case when coalesce(done_us, 0)=0 and coalesce(tries, 0)<? and coalesce(next_us, 0)>? then 1 else 0 end)
        from journal join endpoint on endpoint.name=?
        left join delivery on delivery.endpoint=endpoint.name and delivery.event=journal.id
        where ({marks}) and position>after_position"""
    newest = """select said, done_us, next_us from delivery where endpoint=? and said<>''
        order by case when done_us>next_us then done_us else next_us end desc limit 1"""
    found = []
    for one in endpoints(db):
        params = (TRIES_MOST, TRIES_MOST, at_us, one.name, *(part for pair in EVENTS for part in pair))
        every, arrived, lost, resting = (int(count or 0) for count in db.rows(counted, params)[0])
        said, done_us, next_us = (db.rows(newest, (one.name,)) or [("", 0, 0)])[0]
        found.append(Told(one, arrived, every - arrived - lost - resting, resting, lost, str(said), int(done_us), int(next_us)))
    return found


def told_one(shop: Shop, name: str) -> tuple[Endpoint, list[Sent]]:
    """One of them with its newest events. Raises ``endpoint-unknown``."""
    endpoint = endpoint_named(open_books(shop), name)
    return endpoint, events_of(shop, endpoint)


def events_of(shop: Shop, endpoint: Endpoint, most: int = EVENTS_SHOWN) -> list[Sent]:
    """The newest of what an endpoint was or is to be told."""
    db, names, at_us = open_books(shop), customer_names(shop), now_us()
    marks = " or ".join("(journal=? and kind=?)" for _ in EVENTS)
    sql = f"""select journal, kind, journal.id, account, at_us, coalesce(tries, 0), coalesce(next_us, 0), coalesce(done_us, 0),
        coalesce(said, '') from journal join endpoint on endpoint.name=?
        left join delivery on delivery.endpoint=endpoint.name and delivery.event=journal.id
        where ({marks}) and position>after_position order by position desc limit ?"""
    params = (endpoint.name, *(part for pair in EVENTS for part in pair), most)
    found = []
    for journal, kind, id, account, began_us, tries, next_us, done_us, said in db.rows(sql, params):
        state = ("arrived" if done_us else "lost" if tries >= TRIES_MOST else "resting" if next_us > at_us else "waiting")
        found.append(Sent(id, EVENTS[journal, kind], names.get(account, account), began_us, int(tries), int(next_us),
                          int(done_us), said, state))
    return found
