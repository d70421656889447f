"""Three accounts of the same requests, held against each other: what was answered, what was used, what was billed.

*Answered* is what serving processes wrote down apart from the meter (``scratch/access``), *used* the usage rows, *billed* the
invoices. Whatever was answered must have been used, once; the daily sums must be the rows' sums; an invoice made again from its
sealed rows must have the same bytes. A row without an answer is no fault but is told: charged, and perhaps not delivered.
Reads only; the keeper runs it every night (``keeping/jobs``).
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

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
NAMED_MOST = 10_000
LINE_BYTES = 48  # of an answer in its log
PART_IDS, HELD_MOST = 500_000, 100_000  # ids compared at once, and held before they are written to files
ANSWERED, USED = "answered", "used"
DATED = re.compile(r"20\d\d-\d\d-\d\d_")


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
    more: int = 0  # that do not fit either, beyond those that are kept by name

    @property
    def wrong(self) -> int:
        """How many things do not fit."""
        return len(self.missing) + len(self.twice) + len(self.sums) + len(self.changed) + self.more

    def add(self, names: list[str], name: str) -> None:
        """One more that does not fit; by name as long as they are not too many."""
        if len(names) < NAMED_MOST:
            names.append(name)
        else:
            self.more += 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON; of each kind at most some by name."""
        shown = {name: value[:SHOWN] if isinstance(value, list) else value for name, value in asdict(self).items()}
        return shown | {"wrong": self.wrong}


def reconcile(shop: Shop, days: int = 2) -> Differences:
    """Compare the last so many days, and the invoices made in them.

    Memory is bounded however many requests there were, and servers may go on meanwhile: what they write after the first look
    at the daily sums is left out of all of them.
    """
    db = open_books(shop)
    end_us = now_us()
    found = Differences(end_us - days * DAY_US)
    logs = _logs(shop.path / "scratch" / "access", found.from_us)
    with _Heap(shop.path / "scratch", sum(path.stat().st_size for path in logs) // LINE_BYTES) as heap:
        first_us = _read_answers(logs, heap, found)
        from_day = day_of(found.from_us + DAY_US, shop_offset(shop))
        mark, kept = _kept_sums(db, from_day)
        sums: dict[tuple[str, str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        for id, account, at_us, text in _uses(db, mark, found.from_us - SLACK_US):
            body = orjson.loads(text)
            one = sums[account, body.get("day") or day_of(at_us), body["model"], int(body["test"])]
            for place, value in enumerate((1, body["units"], body["micros"])):
                one[place] += value
            counts = at_us >= found.from_us
            found.used += counts
            heap.put(USED, id, counts and first_us < at_us < end_us - FRESH_US)
        _compare_ids(db, heap, found)
    counted = {name: values for name, values in sums.items() if name[1] >= from_day}
    for name in sorted({*kept, *counted}):
        if kept.get(name) != counted.get(name):
            found.sums.append(f"{name[0]} {name[1]} {name[2]}: {kept.get(name)} kept, {counted.get(name)} in rows")
    _compare_invoices(shop, found)
    return found


class _Heap:
    """The ids of requests, answered and used, in parts that fit into memory: in files by their digest, where there are many."""

    def __init__(self, folder: Path, expected: int) -> None:
        self.parts = 1 + expected // PART_IDS
        self._folder = folder
        self._lists: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._held = 0

    def __enter__(self) -> _Heap:
        self._folder.mkdir(exist_ok=True)
        self._place = tempfile.TemporaryDirectory(prefix="reconcile-", dir=self._folder)
        return self

    def __exit__(self, *_error: object) -> None:
        self._place.cleanup()

    def put(self, which: str, id: str, marked: bool = False) -> None:
        """Keep an id of one kind, with a mark or without."""
        self._lists[which, crc32(id.encode()) % self.parts].append(f"{int(marked)}{id}")
        self._held += 1
        if self.parts > 1 and self._held >= HELD_MOST:
            for (name, part), ids in self._lists.items():
                with (Path(self._place.name) / f"{name}-{part}").open("a", encoding="utf-8") as file:
                    file.writelines(f"{one}\n" for one in ids)
            self._lists.clear()
            self._held = 0

    def get(self, which: str, part: int) -> Iterator[tuple[str, bool]]:
        """The ids of one kind in one part, in the order in which they came, each with its mark."""
        path = Path(self._place.name) / f"{which}-{part}"
        if path.exists():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield line[1:-1], line[0] == "1"
        for one in self._lists[which, part]:
            yield one[1:], one[0] == "1"


def _logs(folder: Path, from_us: int) -> list[Path]:
    """The files that can hold answers since a moment; each begins with its day (UTC)."""
    day = day_of(from_us - DAY_US, "+00:00")
    return [path for path in sorted(folder.glob("*.log")) if not DATED.match(path.name) or path.name[:10] >= day]


def _read_answers(logs: list[Path], heap: _Heap, found: Differences) -> int:
    """Read the ids that serving processes wrote down; since when they do."""
    first_us = 1 << 62
    for path in logs:
        with path.open(encoding="ascii", errors="replace") as file:
            for line in file:
                at, _, id = line.rstrip("\n").partition(" ")
                if not at.isdigit() or not id or int(at) < found.from_us:  # a line may be torn by a kill
                    continue
                first_us = min(first_us, int(at))
                heap.put(ANSWERED, id)
    return first_us


def _kept_sums(db: Database, from_day: str) -> tuple[Any, dict[tuple[Any, ...], list[int]]]:
    """The daily sums, and a mark by which to tell the rows that they hold from those that came later; read as of one moment.

    In PostgreSQL a row's place is given before it is committed, so there the mark is the snapshot itself.
    """
    now = "pg_current_snapshot()::text" if db.dialect == "postgresql" else "coalesce(max(position), 0)"
    source = "" if db.dialect == "postgresql" else " from journal"
    rows = db.rows(f"""select mark, account, day, model, test, requests, units, micros from (select {now} as mark{source}) as seen
        left join usage_day on day>=?""", (from_day,))
    kept = {(row[1], row[2], row[3], int(row[4])): [int(value) for value in row[5:]] for row in rows if row[1] is not None}
    return rows[0][0], kept


def _uses(db: Database, mark: Any, from_us: int) -> Iterator[tuple[str, str, int, str]]:
    """The usage rows from a mark back to a moment, newest first."""
    seen = "pg_visible_in_snapshot(tx, ?::pg_snapshot)" if db.dialect == "postgresql" else "position<=?"
    sql = f"""select position, id, account, at_us, kind, body from journal where journal='usage' and position<? and {seen}
        order by position desc limit ?"""
    position = 1 << 62
    while rows := db.rows(sql, (position, mark, PIECE)):
        for _, id, account, at_us, kind, text in rows:
            if kind == "use":
                yield id, account, at_us, text
        position = rows[-1][0]
        if rows[-1][3] < from_us:
            return


def _compare_ids(db: Database, heap: _Heap, found: Differences) -> None:
    """Whatever was answered must have been used, whenever that was written; what was used may be undelivered."""
    for part in range(heap.parts):
        answered: set[str] = set()
        for id, _ in heap.get(ANSWERED, part):
            if id in answered:
                found.add(found.twice, id)
            answered.add(id)
        found.answered += len(answered)
        for id, told in heap.get(USED, part):
            found.undelivered += told and id not in answered
            answered.discard(id)
        ids = sorted(answered)
        for start in range(0, len(ids), PIECE):
            piece = ids[start : start + PIECE]
            known = {row[0] for row in rows_in(db, "select id from journal where id in ({marks})", piece)}
            for id in piece:
                if id not in known:
                    found.add(found.missing, id)


def _compare_invoices(shop: Shop, found: Differences) -> None:
    """Invoices of these days, made again."""
    from mofang.trade.billing.issuing import remake

    for claim in invoices_of(shop.control):
        if claim.entry and shop.ledger.get(claim.entry).at_us >= found.from_us:
            found.invoices += 1
            if not remake(shop, claim.number)["invoice.json"]:
                found.changed.append(claim.number)
