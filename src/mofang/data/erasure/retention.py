"""Records that may no longer be kept: what is past its day, and erasing it with everything that was made from it alone."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mofang.core import erased
from mofang.core.ancestry import behind
from mofang.core.errors import MofangError
from mofang.core.ledger import Entry
from mofang.core.personal import Sought
from mofang.core.shop import Shop
from mofang.core.tombstones import Tombstones
from mofang.data.erasure.erase import Report, carry_out, groups, hold, require_quiet, tell, touched_artifacts
from mofang.data.erasure.match import Match
from mofang.data.records import RecordReader
from mofang.data.roles import ID

WHY = "retention"


@dataclass(frozen=True)
class Due:
    """Collected records with the last day on which they may be kept."""

    entry: str
    until: str
    rows: int
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return dict(self.__dict__)


def kept_until(shop: Shop) -> list[Due]:
    """All collected records that have such a day, the earliest first; empty ones are left out."""
    found: dict[str, Due] = {}
    rows = shop.ledger.db.rows("select id from entry where kind in ('done', 'reuse') and body like ?", ('%"retain%',))
    for (id,) in rows:
        entry = shop.ledger.get(id)
        if entry.body.get("output", {}).get("kind") != "records":
            continue
        records = shop.artifact(entry)
        try:
            about = records.read_json("about.json")
        except MofangError:  # erased or swept away since
            continue
        if about.get("retain_until") and about.get("rows"):
            source = str(about.get("source", {}).get("given", ""))
            found[records.entry] = Due(records.entry, str(about["retain_until"]), int(about["rows"]), source)
    return sorted(found.values(), key=lambda one: (one.until, one.entry))


def due(shop: Shop, today: str = "") -> list[Due]:
    """Records that are past their day."""
    day = today or datetime.date.today().isoformat()
    return [one for one in kept_until(shop) if one.until < day]


def erase_due(shop: Shop, why: str = "", *, dry_run: bool = False, today: str = "") -> Report:
    """Erase records that are past their day, and their rows wherever they went.

    A record that another source holds too, within its day, stays there and in what was made from both. There are no
    tombstones: the same source may be collected again under a new day.
    """
    shop.require("people")
    past = due(shop, today)
    if not past:
        return Report()
    chosen, ids = _choice(shop, {one.entry for one in past})
    found, lost = touched_artifacts(shop, chosen)
    nobody = Tombstones.only(shop, ())
    report = Report(records=len(ids), lost=lost, held=hold(shop, Sought(nobody, (), tuple(sorted(ids)), dry=True)))
    tell(shop, report, [(entries, gone) for entries, _, gone in found])
    if dry_run:
        return report
    require_quiet(shop)
    waiting = [one for one in erased.unfinished_erasures(shop) if not one.marks]
    report.erasure = waiting[0].id if waiting else erased.begin(shop, (), (), why or WHY)
    carry_out(shop, report, chosen, forever=False)
    report.held = hold(shop, Sought(nobody, (), tuple(sorted(ids))))
    erased.end(shop, report.erasure, {"rows": report.rows, "objects": report.objects, "held": report.held})
    return report


def _choice(shop: Shop, past: set[str]) -> tuple[Callable[[list[Entry]], Match], set[str]]:
    """Which records go from which artifact, and the ids that go for good."""
    gone, alive = set[str](), set[str]()
    for entries in groups(shop):
        if entries[0].body["output"]["kind"] == "records":
            (gone if entries[0].id in past else alive).update(_ids(shop, entries[0]))
    nobody = Tombstones.only(shop, ())
    alone, elsewhere = Match(nobody, records=frozenset(gone)), Match(nobody, records=frozenset(gone - alive))

    def chosen(entries: list[Entry]) -> Match:
        roots = {id for entry in entries for id in behind(shop.ledger, entry.id)
                 if shop.ledger.get(id).body.get("output", {}).get("kind") == "records"}
        return alone if {erased.standing(shop, id) for id in roots} <= past else elsewhere

    return chosen, gone - alive


def _ids(shop: Shop, entry: Entry) -> set[str]:
    reader = RecordReader(shop.artifact(entry))
    return {id for batch in reader.batches(1 << 16, media=False, columns=[]) for id in batch.column(ID)}
