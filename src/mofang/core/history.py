"""The ledger read as a history: which runs ended, failed, or were cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mofang.core.identity import now_us
from mofang.core.ledger import COLUMNS, Entry, Ledger, entry_from

State = Literal["done", "reused", "failed", "running", "abandoned"]


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


def unfinished(ledger: Ledger) -> list[Entry]:
    """Starts without an end whose lease ran out and whose work no later run completed: abandoned, never updated."""
    sql = f"""select {COLUMNS} from entry as started where kind='start'
        and not exists (select 1 from entry as ended where ended.key=started.key and ended.seq>started.seq
                        and ended.kind in ('done', 'reuse', 'fail', 'start'))
        and not exists (select 1 from lease where lease.key=started.key and lease.until_us>?) order by seq"""
    return [entry_from(row) for row in ledger.db.rows(sql, (now_us(),))]


def recent(ledger: Ledger, limit: int) -> list[Told]:
    """The newest runs, newest first."""
    sql = f"""select {COLUMNS} from entry where kind in ('done', 'reuse', 'fail') order by seq desc limit ?"""
    told = [_told(entry_from(row)) for row in ledger.db.rows(sql, (limit,))]
    running = [entry_from(row) for row in ledger.db.rows(
        f"""select {COLUMNS} from entry as started where kind='start' and exists
            (select 1 from lease where lease.key=started.key and lease.until_us>?) order by seq""", (now_us(),))]
    told += [Told(one.id, one.at_us, "running", one.body) for one in running]
    told += [Told(one.id, one.at_us, "abandoned", one.body) for one in unfinished(ledger)]
    return sorted(told, key=lambda one: -one.at_us)[:limit]


def _told(entry: Entry) -> Told:
    states: dict[str, State] = {"done": "done", "reuse": "reused", "fail": "failed"}
    return Told(entry.id, entry.at_us, states[entry.kind], entry.body)
