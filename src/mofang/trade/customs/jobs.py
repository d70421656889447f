"""What stands in the queue of customisations: rows of the journal ``custom``, folded here into one line for each order.

An order waits, is run by one worker at a time, and ends delivered, declined or cancelled. There is no scheduler: who takes an
order next follows from the rows and from leases (``queue``).
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any

from mofang.core.database import Database
from mofang.core.errors import MofangError, wordings
from mofang.core.journal import Row

WAITING, RUNNING, STOPPING = "waiting", "running", "stopping"
OPEN = (WAITING, RUNNING, STOPPING)
COLUMNS = """custom, account, state, allowed, learn, price, seed, asked_us, begun_us, not_before_us, tries, percent, reason,
    told, ended_us"""
TABLE = """create table if not exists custom_job(custom text primary key, account text not null, state text not null,
    allowed bigint not null, learn text not null, price text not null, seed bigint not null, asked_us bigint not null,
    begun_us bigint not null, not_before_us bigint not null, tries bigint not null, percent bigint not null,
    reason text not null, told text not null, ended_us bigint not null)"""


@dataclass(frozen=True)
class Job:
    """One order's place in the queue. ``state``: empty (never queued), waiting, running, stopping, done, declined or cancelled.

    ``allowed`` says whether the customer may start a run with an own key; ``tries`` how often it was begun; ``percent`` how far
    it is; ``reason`` is the code of what it was declined for and ``told`` the numbers in that code's wording, as JSON.
    """

    custom: str
    account: str
    state: str
    allowed: int
    learn: str
    price: str
    seed: int
    asked_us: int
    begun_us: int
    not_before_us: int
    tries: int
    percent: int
    reason: str
    told: str
    ended_us: int


def fold_job(db: Database, row: Row) -> None:
    """What one row of the journal changes in the queue."""
    body, custom = row.body, row.body["custom"]
    if row.kind == "quote" and "own_run" in body:
        db.run("""insert into custom_job values(?,?,'',?,'','',0,0,0,0,0,0,'','',0)
            on conflict(custom) do update set allowed=excluded.allowed""", (custom, row.account, int(body["own_run"])))
    elif row.kind == "queued":
        db.run("""insert into custom_job values(?,?,'waiting',0,?,?,?,?,0,0,0,0,'','',0)
            on conflict(custom) do update set state='waiting', learn=excluded.learn, price=excluded.price, seed=excluded.seed,
            asked_us=excluded.asked_us, begun_us=0, not_before_us=0, tries=0, percent=0, reason='', told='', ended_us=0""",
               (custom, row.account, body["learn"], body["price"], body["seed"], row.at_us))
    elif row.kind == "begun":
        db.run("update custom_job set state='running', begun_us=?, tries=tries+1, percent=0 where custom=?", (row.at_us, custom))
    elif row.kind == "step":
        db.run("update custom_job set percent=? where custom=?", (body["percent"], custom))
    elif row.kind == "put-back":
        db.run("""update custom_job set state='waiting', percent=0, not_before_us=?, tries=tries-?, reason=?, told=''
            where custom=?""",
               (body["not_before_us"], int(not body["counts"]), body["reason"], custom))
    elif row.kind == "stop":
        db.run("update custom_job set state='stopping' where custom=?", (custom,))
    elif row.kind == "cancelled":
        db.run("update custom_job set state='cancelled', reason='', told='', ended_us=? where custom=?", (row.at_us, custom))
    elif row.kind == "declined":
        db.run("""update custom_job set state='declined', percent=100, reason=?, told=?, ended_us=? where custom=?""",
               (body.get("reason", ""), body.get("told", ""), row.at_us, custom))
    elif row.kind == "delivered":
        db.run("update custom_job set state='done', percent=100, reason='', told='', ended_us=? where custom=?",
               (row.at_us, custom))
    elif row.kind in ("deleting", "deleted"):
        db.run("delete from custom_job where custom=?", (custom,))


def jobs(db: Database, *states: str) -> list[Job]:
    """The lines of the queue, in the order in which runs were asked for; all of them, or those in these states."""
    marks = f" where state in ({','.join('?' * len(states))})" if states else ""
    return [Job(*row) for row in db.rows(f"select {COLUMNS} from custom_job{marks} order by asked_us, custom", states)]


def job_of(db: Database, custom: str) -> Job | None:
    """An order's line; None where it was never queued and its quote said nothing of it."""
    found = db.rows(f"select {COLUMNS} from custom_job where custom=?", (custom,))
    return Job(*found[0]) if found else None


def numbers_of(fault: Exception) -> tuple[str, dict[str, int | float]]:
    """The code of a refusal and the numbers in it: words among its values may be the customer's own and are not kept."""
    if not isinstance(fault, MofangError):
        return "customise-failed", {}
    values = {name: value for name, value in fault.values.items() if isinstance(value, int | float)}
    return fault.code, values


def worded(code: str, numbers: dict[str, Any]) -> MofangError:
    """The wording of a code that was kept without its words; what is not known any more is three dots."""
    if code not in wordings():
        code = "customise-failed"
    entry = wordings()[code]
    found = [part for text in (*entry["en"], *entry["zh"]) for part in Formatter().parse(text) if part[1]]
    if any(spec and name not in numbers for _, name, spec, _ in found):  # dots cannot be written as a number
        return MofangError("customise-failed")
    return MofangError(code, **{str(name): numbers.get(str(name), "…") for _, name, _, _ in found})
