"""The ledger read as a history: which runs ended, failed or were cut off, and what each day's runs cost.

What every morning's screen asks is counted once: a few small tables follow the ledger and are caught up with what was
written since they were last looked at. They are nobody's evidence; where they do not fit the chain (a restored backup)
they are made anew from it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from mofang.core.clock import UTC_OFFSET, day_of
from mofang.core.identity import now_us
from mofang.core.ledger import COLUMNS, Entry, Ledger, entry_from

State = Literal["done", "reused", "failed", "running", "abandoned"]

SCHEMA = (
    """create table if not exists history(id integer primary key, seq bigint not null, chain text not null,
        utc_offset text not null)""",
    "create table if not exists history_open(key text primary key, seq bigint not null)",
    """create table if not exists history_day(day text primary key, runs bigint not null, wall_ms bigint not null,
        energy_mwh bigint not null, micros bigint not null, unpriced_runs bigint not null, unpriced_ms bigint not null,
        unpriced_mwh bigint not null)""",
)
PAGE = 2000


@dataclass(frozen=True)
class Told:
    """One run as a line of the history."""

    id: str
    at_us: int
    state: State
    body: dict[str, Any]

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds, children included, if it ended."""
        cost = self.body.get("cost")
        return cost["total"]["wall_s"] if cost else None

    @property
    def error(self) -> str:
        """The code of the error that ended it."""
        return str(self.body.get("error", ""))


@dataclass(frozen=True)
class Spent:
    """What runs used over some days. ``micros`` is the money of those that ran under a rate; the others stand beside it."""

    runs: int = 0
    wall_s: float = 0.0
    energy_wh: float = 0.0
    micros: int = 0
    unpriced_runs: int = 0
    unpriced_s: float = 0.0
    unpriced_wh: float = 0.0


def unfinished(ledger: Ledger) -> list[Entry]:
    """Starts without an end whose lease ran out and whose work no later run completed: abandoned, never updated."""
    catch_up(ledger)
    sql = f"""select {COLUMNS} from entry where seq in (select seq from history_open as open
        where not exists (select 1 from lease where lease.key=open.key and lease.until_us>?)) order by seq"""
    return [entry_from(row) for row in ledger.db.rows(sql, (now_us(),))]


def running(ledger: Ledger) -> list[Entry]:
    """Starts whose lease holds."""
    sql = f"""select {COLUMNS} from entry where seq in (select max(started.seq) from lease
        join entry as started on started.key=lease.key and started.kind='start' where lease.until_us>?
        group by lease.key) order by seq"""
    return [entry_from(row) for row in ledger.db.rows(sql, (now_us(),))]


def recent(ledger: Ledger, limit: int) -> list[Told]:
    """The newest runs, newest first."""
    sql = f"select {COLUMNS} from entry where kind=? order by seq desc limit ?"
    told = [_told(entry_from(row)) for kind in ("done", "reuse", "fail") for row in ledger.db.rows(sql, (kind, limit))]
    told += [Told(one.id, one.at_us, "running", one.body) for one in running(ledger)]
    told += [Told(one.id, one.at_us, "abandoned", one.body) for one in unfinished(ledger)]
    return sorted(told, key=lambda one: -one.at_us)[:limit]


def spent_since(ledger: Ledger, day: str, utc_offset: str = UTC_OFFSET) -> Spent:
    """What all runs from a day (``2026-11-01``) on cost, on the shop's clock; nested runs are counted once."""
    return sum_days(row for name, row in spent_by_day(ledger, utc_offset) if name >= day)


def spent_by_day(ledger: Ledger, utc_offset: str = UTC_OFFSET) -> list[tuple[str, Spent]]:
    """Each day on which something ran, oldest first."""
    catch_up(ledger, utc_offset)
    sql = """select day, runs, wall_ms, energy_mwh, micros, unpriced_runs, unpriced_ms, unpriced_mwh
        from history_day order by day"""
    return [(row[0], Spent(row[1], row[2] / 1000, row[3] / 1000, row[4], row[5], row[6] / 1000, row[7] / 1000))
            for row in ledger.db.rows(sql)]


def sum_days(days: Any) -> Spent:
    """Several days as one."""
    total = Spent()
    for one in days:
        total = Spent(*(a + b for a, b in zip(vars(total).values(), vars(one).values(), strict=True)))
    return total


def _told(entry: Entry) -> Told:
    states: dict[str, State] = {"done": "done", "reuse": "reused", "fail": "failed"}
    return Told(entry.id, entry.at_us, states[entry.kind], entry.body)


# Catching up


def catch_up(ledger: Ledger, utc_offset: str = "") -> None:
    """Count what the ledger gained since the tables were last looked at. Costs nothing where that is nothing.

    ``utc_offset`` is the clock on which days begin; left out, the one that was counted by before stays.
    """
    db, head = ledger.db, ledger.head()
    for statement in SCHEMA if not _there(ledger) else ():
        with db.transaction():
            db.run(statement)
    state = db.rows("select seq, chain, utc_offset from history where id=1")
    offset = utc_offset or (state[0][2] if state else UTC_OFFSET)
    if state and state[0] == (*head, offset):
        return
    with db.transaction():
        seq, offset = _begin(ledger, offset)
        entries: list[tuple[Any, ...]]
        while entries := db.rows("""select seq, kind, key, at_us, case when kind='done' then body else '' end, chain
                                    from entry where seq>? order by seq limit ?""", (seq, PAGE)):
            _count(ledger, entries, offset)
            seq = entries[-1][0]
            db.run("update history set seq=?, chain=? where id=1", (seq, entries[-1][5]))


def _there(ledger: Ledger) -> bool:
    if ledger.db.dialect == "postgresql":
        return ledger.db.rows("select to_regclass('history_day')")[0][0] is not None
    return bool(ledger.db.rows("select 1 from sqlite_master where name='history_day'"))


def _begin(ledger: Ledger, utc_offset: str) -> tuple[int, str]:
    """Where to go on counting: behind what was counted, or at the start where that is no part of this chain."""
    db = ledger.db
    lock = " for update" if db.dialect == "postgresql" else ""
    db.run("insert into history values(1, 0, '', ?) on conflict(id) do nothing", (utc_offset,))
    seq, chain, offset = db.rows(f"select seq, chain, utc_offset from history where id=1{lock}")[0]
    known = db.rows("select chain from entry where seq=?", (seq,)) if seq else [("",)]
    if offset == utc_offset and known and known[0][0] == chain:
        return int(seq), utc_offset
    db.run("delete from history_open")
    db.run("delete from history_day")
    db.run("update history set seq=0, chain='', utc_offset=? where id=1", (utc_offset,))
    return 0, utc_offset


def _count(ledger: Ledger, entries: list[tuple[Any, ...]], utc_offset: str) -> None:
    opened: dict[str, int | None] = {}
    days: dict[str, list[int]] = defaultdict(lambda: [0] * 7)
    for seq, kind, key, at_us, body, _ in entries:
        if kind == "start":
            opened[key] = seq
        elif kind in ("done", "reuse", "fail"):
            opened[key] = None
        if kind == "done":
            own = orjson.loads(body).get("cost", {}).get("own")
            if own:
                _add(days[day_of(at_us, utc_offset)], own)
    db = ledger.db
    db.many("delete from history_open where key=?", [(key,) for key in opened])
    db.many("insert into history_open values(?,?)", [(key, seq) for key, seq in opened.items() if seq is not None])
    names = ("runs", "wall_ms", "energy_mwh", "micros", "unpriced_runs", "unpriced_ms", "unpriced_mwh")
    added = ", ".join(f"{name}=history_day.{name}+excluded.{name}" for name in names)
    db.many(f"insert into history_day values(?,?,?,?,?,?,?,?) on conflict(day) do update set {added}",
            [(day, *counts) for day, counts in days.items()])


def _add(counts: list[int], own: dict[str, Any]) -> None:
    wall_ms, energy_mwh = round(own["wall_s"] * 1000), round(own["energy_wh"] * 1000)
    unpriced = own["micros"] is None
    for at, value in enumerate((1, wall_ms, energy_mwh, own["micros"] or 0, int(unpriced), wall_ms * unpriced,
                                energy_mwh * unpriced)):
        counts[at] += value
