"""Erase a person or single records: out of every artifact, journal and table, and never to come back.

The order is what makes it safe to cut off: first the marks (nobody brings the person in again), then each artifact's
new parts, each visible before its old ones go, then the old keys and files, then the holders. Every step is safe to
repeat, and the same command goes on where one was cut off.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mofang.core import erased, lock
from mofang.core.action import Act, action
from mofang.core.after_erasure import bring_backups_up_to_date
from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.history import running
from mofang.core.language import say
from mofang.core.ledger import Entry
from mofang.core.personal import HOLDERS, SHOWS, Sought, is_personal
from mofang.core.progress import progress
from mofang.core.shop import Shop
from mofang.core.tombstones import SECRET, Tombstones, person_mark, record_mark
from mofang.data.erasure.descent import Descent, descent_of
from mofang.data.erasure.match import Match, values_of
from mofang.data.erasure.rewrite import ids_of_people, rewrite, touched

WHY_MOST = 200


@dataclass
class Report:
    """What an erasure found or did. ``artifacts`` holds kind, entry and the rows that go; ``lost`` what nobody can read."""

    erasure: str = ""
    records: int = 0
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    objects: int = 0
    held: dict[str, int] = field(default_factory=dict)
    lost: list[dict[str, Any]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    descent: Descent = field(default_factory=Descent)

    @property
    def rows(self) -> int:
        """Rows taken out of all parts."""
        return sum(sum(one["rows"].values()) for one in self.artifacts)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON; it names nobody."""
        return {"erasure": self.erasure, "records": self.records, "rows": self.rows, "artifacts": self.artifacts,
                "objects": self.objects, "held": self.held, "lost": self.lost, "sources": self.sources,
                **self.descent.to_dict()}


@action(may="people")
def erase(act: Act, *, person: tuple[str, ...] = (), record: tuple[str, ...] = (), column: tuple[str, ...] = (),
          why: str = "", dry_run: bool = False) -> Report:
    """Erase people and records from the shop, and list what was made from them.

    ``person`` is compared with the columns of role person, or with those that ``column`` names. ``dry_run`` only looks.
    Raises ``erase-whom``, ``erase-nobody``, ``erase-while-running`` and ``erase-why``.
    """
    return erase_from(act.shop, person, record, column, why, dry_run=dry_run)


def erase_from(shop: Shop, people: Iterable[str] = (), records: Iterable[str] = (), columns: Iterable[str] = (),
               why: str = "", *, dry_run: bool = False) -> Report:
    """The work behind the action; it also finishes erasures that were cut off."""
    shop.journals.make_tables()
    people = tuple(people)
    given, wanted = values_of(people), frozenset(filter(None, (one.strip() for one in records)))
    waiting = [one for one in erased.unfinished_erasures(shop) if one.marks]
    if not given and not wanted and not waiting:
        raise MofangError("erase-whom")
    if len(why) > WHY_MOST or any(one in why.casefold() for one in given):
        raise MofangError("erase-why", most=WHY_MOST)
    marks = Tombstones.only(shop, frozenset(mark for one in waiting for mark in one.marks))
    match = Match(marks, given, wanted, tuple(columns))
    with progress(say("Looking", "正在查找")):
        ids = wanted | _ids(shop, match)
        match = Match(marks, given, frozenset(ids), tuple(columns))
        found, lost = touched_artifacts(shop, lambda _: match)
    values = tuple(sorted({*given, *(one.strip() for one in people if one.strip())}))
    held = hold(shop, Sought(marks, values, tuple(sorted(ids)), dry=True))
    if not found and not any(held.values()) and not waiting and not _known(shop, given):
        raise MofangError("erase-nobody")
    report = Report(records=len(ids), held=held, lost=lost)
    tell(shop, report, [(entries, gone) for entries, _, gone in found])
    if dry_run:
        return report
    require_quiet(shop)
    report.erasure = _marked(shop, match, waiting, why)
    carry_out(shop, report, lambda _: match)
    report.held = hold(shop, Sought(marks, values, tuple(sorted(ids))))
    if removed := bring_backups_up_to_date(shop):
        report.held["files in backups"] = removed
    for id in {report.erasure, *(one.id for one in waiting)}:
        erased.end(shop, id, {"rows": report.rows, "objects": report.objects, "held": report.held})
    return report


def _known(shop: Shop, people: frozenset[str]) -> bool:
    """True if somebody of these was erased before: then there is nothing left to do, and that is no mistake."""
    marks = Tombstones(shop)
    return any(marks.person(one) for one in people)


def require_quiet(shop: Shop) -> None:
    """Runs that are at work may hold the person in memory."""
    at_work = running(shop.ledger)
    if at_work:
        raise MofangError("erase-while-running", stage=at_work[0].body["stage"], run=at_work[0].id)


def groups(shop: Shop) -> list[list[Entry]]:
    """Entries that stand for an artifact that can hold personal data, those of equal parts together, oldest first."""
    found: dict[str, list[Entry]] = {}
    for entry in erased.current(shop):
        if is_personal(entry.body["output"]["kind"]):
            found.setdefault(entry.body["output"]["digest"], []).append(entry)
    return list(found.values())


def _ids(shop: Shop, match: Match) -> set[str]:
    """The ids of everything that any artifact shows to be theirs."""
    found: set[str] = set()
    for entries in groups(shop):
        try:
            found |= ids_of_people(shop.artifact(entries[0]), match)
        except MofangError as error:
            _require_gone(error)
    return found


Choose = Callable[[list[Entry]], Match]
Touched = list[tuple[list[Entry], Artifact, dict[str, int]]]


def touched_artifacts(shop: Shop, choose: Choose) -> tuple[Touched, list[dict[str, Any]]]:
    """Artifacts with rows of theirs, and artifacts that cannot be looked into because their key is gone."""
    found: Touched = []
    lost: list[dict[str, Any]] = []
    for entries in reversed(groups(shop)):  # what was collected last of all: until then it shows whose the records are
        artifact = shop.artifact(entries[0])
        try:
            gone = touched(artifact, choose(entries))
        except MofangError as error:
            _require_gone(error)
            lost.append({"kind": artifact.kind, "entry": artifact.entry})
            continue
        if gone:
            found.append((entries, artifact, gone))
    return _showing(shop, found), lost


def _showing(shop: Shop, found: Touched) -> Touched:
    """The same, with what shows records without their ids and was made from what is touched now, or was before."""
    hit = {entry.id: place for place, (entries, _, _) in enumerate(found) for entry in entries}
    more: Touched = []
    for entries in groups(shop):
        kind = entries[0].body["output"]["kind"]
        if kind not in SHOWS:
            continue
        artifact = shop.artifact(entries[0])
        origins = {one["entry"] for entry in entries for one in entry.body.get("inputs", ())}
        if artifact.has(SHOWS[kind]) and any(one in hit or erased.standing(shop, one) != one for one in origins):
            if entries[0].id in hit:
                found[hit[entries[0].id]][2][SHOWS[kind]] = 1
            else:
                more.append((entries, artifact, {SHOWS[kind]: 1}))
    return [*more, *found]


def _require_gone(error: MofangError) -> None:
    """What was erased or swept away holds nothing any more; anything else stops the erasure."""
    if error.code not in ("object-missing", "object-key-missing"):
        raise error


def _marked(shop: Shop, match: Match, waiting: list[erased.Erasure], why: str) -> str:
    """Write the marks of who goes; the erasure's id, which may be one that was cut off."""
    key = shop.secret(SECRET)
    people = {person_mark(key, one) for one in match.people}
    records = {record_mark(key, one) for one in match.records}
    again = next((one for one in waiting if people <= one.marks), None) if people or not match.records else None
    if again is None:
        return erased.begin(shop, people, records, why)
    if records - again.marks:
        erased.extend(shop, again.id, records - again.marks)
    return again.id


def carry_out(shop: Shop, report: Report, choose: Choose, *, forever: bool = True) -> None:
    """Write the new parts until nothing is left to rewrite, then destroy the old ones, or let them go for now."""
    scratch = shop.path / "scratch" / f"erase-{report.erasure}"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        while found := touched_artifacts(shop, choose)[0]:
            with progress(say("Rewriting", "正在改写"), float(len(found))) as bar:
                for entries, artifact, gone in found:
                    made = rewrite(shop, artifact, choose(entries), gone, scratch)
                    erased.replace(shop, report.erasure, entries, made, forever=forever)
                    bar.advance()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    released = erased.doomed(shop, "released")
    report.objects = len(released & shop.store.held())
    erased.release(shop, released)
    if not forever:
        return
    doomed = erased.doomed(shop)
    if doomed - erased.destroyed(shop):
        erased.condemn(shop, report.erasure, doomed)
    report.objects += len(doomed)
    erased.destroy(shop, doomed)


def hold(shop: Shop, sought: Sought) -> dict[str, int]:
    """Everything outside the artifacts: each holder counts, or removes, what it has."""
    lock.import_holders()
    counts: Counter[str] = Counter()
    for name in sorted(HOLDERS):
        counts.update(HOLDERS[name](shop, sought))
    return {name: count for name, count in sorted(counts.items()) if count}


def tell(shop: Shop, report: Report, found: list[tuple[list[Entry], dict[str, int]]]) -> None:
    """What is touched, where it came from, and what was made from it."""
    names: dict[str, str] = {}
    for one in reversed(shop.names()):
        names[one.entry] = str(one)
    for entries, gone in found:
        for entry in entries:
            report.artifacts.append({"kind": entry.body["output"]["kind"], "entry": entry.id, "name": names.get(entry.id, ""),
                                     "rows": gone})
    starts = {entry.id for entries, _ in found for entry in entries} | set(_replaced(shop))
    report.sources = sorted({str(shop.ledger.get(id).body["settings"]["source"]) for id in starts
                             if "source" in shop.ledger.get(id).body.get("settings", {})})
    report.descent = descent_of(shop, starts)


def _replaced(shop: Shop) -> list[str]:
    """Entries that an unfinished erasure has rewritten already: what was made from them is told too."""
    open_ = {one.id for one in erased.unfinished_erasures(shop)}
    return [entry.body["erased"] for entry in shop.ledger.entries("erase") if entry.body["erasure"] in open_] if open_ else []
