"""Three accounts of the same requests, held against each other: what was answered, what was used, what was billed.

*Answered* is what serving processes wrote down apart from the meter (``scratch/access``), *used* the usage rows, *billed* the
invoices. Whatever was answered must have been used, once; the daily sums must be the rows' sums; an invoice made again from its
sealed rows must have the same bytes. A row without an answer is no fault but is told: charged, and perhaps not delivered.
Reads only; the keeper runs it every night (``keeping/jobs``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.billing.balance import rows_in
from mofang.trade.billing.claims import invoices_of

DAY_US = 86_400_000_000
SLACK_US = 600_000_000  # rows of several servers may stand so far out of order
FRESH_US = 5_000_000  # an answer of the last seconds may not be written down yet
PIECE = 5_000
SHOWN = 20


@dataclass
class Differences:
    """What was compared, and what does not fit; the first some of each kind by name."""

    from_us: int
    answered: int = 0
    used: int = 0
    undelivered: int = 0  # charged, and perhaps not delivered
    invoices: int = 0
    missing: list[str] = field(default_factory=list)  # answered, and never metered
    twice: list[str] = field(default_factory=list)
    sums: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # invoices that are not what their rows give

    @property
    def wrong(self) -> int:
        """How many things do not fit."""
        return len(self.missing) + len(self.twice) + len(self.sums) + len(self.changed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; of each kind at most some by name."""
        shown = {name: value[:SHOWN] if isinstance(value, list) else value for name, value in asdict(self).items()}
        return shown | {"wrong": self.wrong}


def reconcile(shop: Shop, days: int = 2) -> Differences:
    """Compare the last so many days, and the invoices made in them."""
    db = open_books(shop)
    offset = shop_offset(shop)
    end_us = now_us()
    found = Differences(end_us - days * DAY_US)
    answered, first_us = _answered(shop.path / "scratch" / "access", found)
    sums: dict[tuple[str, str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for id, account, at_us, text in _uses(db, found.from_us - SLACK_US):
        body = orjson.loads(text)
        day = body.get("day") or day_of(at_us)
        one = sums[account, day, body["model"], int(body["test"])]
        for place, value in enumerate((1, body["units"], body["micros"])):
            one[place] += value
        if at_us >= found.from_us:
            found.used += 1
            found.undelivered += first_us < at_us < end_us - FRESH_US and id not in answered
    _look_for(db, answered, found)
    _compare_sums(db, sums, day_of(found.from_us + DAY_US, offset), found)
    _compare_invoices(shop, found)
    return found


def _answered(folder: Path, found: Differences) -> tuple[set[str], int]:
    """The ids that serving processes wrote down, and since when they do."""
    ids: set[str] = set()
    first_us = 1 << 62
    for path in sorted(folder.glob("*.log")) if folder.is_dir() else ():
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            at, _, id = line.partition(" ")
            if not at.isdigit() or not id or int(at) < found.from_us:  # a line may be torn by a kill
                continue
            first_us = min(first_us, int(at))
            if id in ids:
                found.twice.append(id)
            ids.add(id)
    found.answered = len(ids)
    return ids, first_us


def _uses(db: Database, from_us: int) -> Iterator[tuple[str, str, int, str]]:
    """The usage rows since a moment, newest first."""
    sql = """select position, id, account, at_us, kind, body from journal where journal='usage' and position<?
        order by position desc limit ?"""
    position = 1 << 62
    while rows := db.rows(sql, (position, PIECE)):
        for _, id, account, at_us, kind, text in rows:
            if kind == "use":
                yield id, account, at_us, text
        position = rows[-1][0]
        if rows[-1][3] < from_us:
            return


def _look_for(db: Database, answered: set[str], found: Differences) -> None:
    """Answered requests that have no usage row, whenever it was written."""
    ids = sorted(answered)
    for start in range(0, len(ids), PIECE):
        piece = ids[start : start + PIECE]
        known = {row[0] for row in rows_in(db, "select id from journal where id in ({marks})", piece)}
        found.missing += [id for id in piece if id not in known]


def _compare_sums(db: Database, sums: dict[tuple[str, str, str, int], list[int]], from_day: str, found: Differences) -> None:
    """The daily sums of the days that were read whole."""
    sql = "select account, day, model, test, requests, units, micros from usage_day where day>=?"
    kept = {tuple(row[:4]): [int(value) for value in row[4:]] for row in db.rows(sql, (from_day,))}
    counted = {name: values for name, values in sums.items() if name[1] >= from_day}
    for name in sorted({*kept, *counted}):
        if kept.get(name) != counted.get(name):
            found.sums.append(f"{name[0]} {name[1]} {name[2]}: {kept.get(name)} kept, {counted.get(name)} in rows")


def _compare_invoices(shop: Shop, found: Differences) -> None:
    """Invoices of these days, made again."""
    from mofang.trade.billing.issuing import remake

    for claim in invoices_of(shop.control):
        if claim.entry and shop.ledger.get(claim.entry).at_us >= found.from_us:
            found.invoices += 1
            if not remake(shop, claim.number)["invoice.json"]:
                found.changed.append(claim.number)
