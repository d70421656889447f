"""When each job ran last, what came of it and when it is tried again: a small table, written over at every run.

It is no folded table: a row a minute for ever would say nothing more. What a job finds (a difference, a budget that was
passed) is a row of a journal.
"""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.database import Database
from mofang.core.tables import tables_of
from mofang.trade.keeping.turns import here

TABLE = """create table if not exists job(name text primary key, began_us bigint not null, ended_us bigint not null,
    ok_us bigint not null, fails integer not null, said text not null, done bigint not null, found bigint not null,
    place text not null)"""
NOTHING, CUT = "", "job-cut"
REPLACED = ", ".join(f"{name}=excluded.{name}"
                     for name in ("began_us", "ended_us", "ok_us", "fails", "said", "done", "found", "place"))


@dataclass(frozen=True)
class Past:
    """A job's last run: times in microseconds (0: never), how often in a row it failed, and the code it failed with.

    ``done`` is how many things it did, ``found`` how many it found wrong. ``ok_us`` is when it last ended well.
    """

    name: str
    began_us: int = 0
    ended_us: int = 0
    ok_us: int = 0
    fails: int = 0
    said: str = NOTHING
    done: int = 0
    found: int = 0
    place: str = ""

    @property
    def cut(self) -> bool:
        """Whether the last run began and never ended: it was killed, or goes on."""
        return self.began_us > self.ended_us


def make_table(db: Database) -> None:
    """Make the table where it is missing."""
    db.run(TABLE)


def past(db: Database) -> dict[str, Past]:
    """The last run of each job, by name; reads only."""
    if "job" not in tables_of(db):
        return {}
    rows = db.rows("select name, began_us, ended_us, ok_us, fails, said, done, found, place from job order by name")
    return {row[0]: Past(*row) for row in rows}


def begin(db: Database, name: str, at_us: int) -> None:
    """A job begins. It counts as failed until it has ended, so that one that kills its process is not begun at once again."""
    before = past(db).get(name, Past(name))
    # after a clock was set back the end of the run before must not lie behind the beginning of this one
    row = (name, at_us, min(before.ended_us, at_us - 1), before.ok_us, before.fails + 1, CUT, 0, before.found, _place())
    with db.transaction():
        db.run(f"insert into job values(?,?,?,?,?,?,?,?,?) on conflict(name) do update set {REPLACED}", row)


def end(db: Database, name: str, at_us: int, said: str = NOTHING, done: int = 0, found: int = 0) -> None:
    """A job has ended: well, or with the code of what was wrong."""
    before = past(db).get(name, Past(name))
    ended_us = max(at_us, before.began_us)
    ok_us, fails = (ended_us, 0) if said == NOTHING else (before.ok_us, max(1, before.fails))
    row = (name, before.began_us, ended_us, ok_us, fails, said, done, found, _place())
    with db.transaction():
        db.run(f"insert into job values(?,?,?,?,?,?,?,?,?) on conflict(name) do update set {REPLACED}", row)


def _place() -> str:
    return here().partition("pid:")[0]
