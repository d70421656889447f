"""Visits: every request to a console, with who asked for what and how it ended; a journal that nothing is ever taken from.

What a person changes stands in the ledger and the other journals under the person's name. What a person only looked at
would leave no trace without this.
"""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.journal import Journals, NewRow

JOURNAL = "visits"


@dataclass(frozen=True)
class Visit:
    """One request: the person's id and name (empty for nobody), from where, what was asked, HTTP status, milliseconds."""

    person: str
    name: str
    address: str
    asked: str
    status: int
    ms: float


def record_visit(journals: Journals, visit: Visit) -> None:
    """Write one visit down, durably, before its answer is complete. ``asked`` holds no secret and no content."""
    body = {"by": visit.name, "from": visit.address, "asked": visit.asked[:300], "status": visit.status, "ms": round(visit.ms, 1)}
    journals.record(JOURNAL, [NewRow("visit", body, account=visit.person)], writer="console")


def last_visit(journals: Journals, person: str) -> int:
    """When a person was last here, in microseconds since 1970; 0 for never."""
    sql = "select at_us from journal where journal=? and account=? order by position desc limit 1"
    found = journals.db.rows(sql, (JOURNAL, person))
    return int(found[0][0]) if found else 0
