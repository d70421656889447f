"""What an erasure writes into the ledger: who may not come back, and what now stands in a touched artifact's place.

Nothing is taken out of the ledger. An entry of kind ``erase`` is made from the old entry and holds the parts without
the erased rows; whoever asks for the old artifact gets these. An erasure has three written steps, ``begin`` (the marks),
``objects`` (what is destroyed) and ``end``, so that one cut off anywhere is seen, and typed again goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Part, manifest_digest
from mofang.core.canonical import digest_of
from mofang.core.database import Database
from mofang.core.identity import new_id
from mofang.core.ledger import Entry, EntryKind

if TYPE_CHECKING:
    from mofang.core.shop import Shop

STAGE = "erase"
ERASE_VERSION = 1
ABOUT = "about.json"  # counts and origins: the same may rightly be said of other records again
MADE: tuple[EntryKind, ...] = ("done", "reuse", "seal", "erase")


@dataclass(frozen=True)
class Erasure:
    """One erasure as the ledger tells it. ``step`` is the last one written: begin, objects or end."""

    id: str
    at_us: int
    step: str
    marks: frozenset[str]
    why: str = ""


def begin(shop: Shop, people: Iterable[str], records: Iterable[str], why: str = "") -> str:
    """Write the marks of who is erased, from now on kept out of every delivery; the erasure's id."""
    id = new_id("era")
    _decide(shop, id, "begin", {"why": why, "tombstones": {"person": sorted(people), "record": sorted(records)}})
    return id


def extend(shop: Shop, id: str, records: Iterable[str]) -> None:
    """Add marks of records that were found later."""
    _decide(shop, id, "begin", {"tombstones": {"record": sorted(records)}})


def condemn(shop: Shop, id: str, digests: Iterable[str]) -> None:
    """Write which objects are about to be destroyed."""
    _decide(shop, id, "objects", {"tombstones": {"object": sorted(digests)}})


def end(shop: Shop, id: str, report: dict[str, Any]) -> None:
    """Write that everything of an erasure is done, with its counts."""
    _decide(shop, id, "end", {"report": report})


def _decide(shop: Shop, id: str, step: str, said: dict[str, Any]) -> None:
    db = shop.ledger.db
    with db.transaction():
        entry = shop.ledger.append_within("decision", f"{STAGE}:{id}", shop.actor,
                                          {"decision": STAGE, "erasure": id, "step": step, **said})
        db.many("insert into tombstone(mark, kind, entry) values(?,?,?) on conflict(mark) do nothing", tombs_of(entry))


def tombs_of(entry: Entry) -> list[tuple[str, str, str]]:
    """The rows of the table of tombstones that follow from an entry."""
    told = entry.body.get("tombstones", {}) if entry.kind == "decision" else {}
    return [(mark, kind, entry.id) for kind, marks in told.items() for mark in marks]


def erasures(shop: Shop) -> list[Erasure]:
    """All erasures, oldest first."""
    found: dict[str, Erasure] = {}
    rows = shop.ledger.db.rows("select id from entry where key like ? and kind='decision' order by seq", (f"{STAGE}:era_%",))
    for (id,) in rows:
        entry = shop.ledger.get(id)
        name, known = entry.body["erasure"], found.get(entry.body["erasure"])
        tombs = entry.body.get("tombstones", {})
        marks = frozenset([*tombs.get("person", ()), *tombs.get("record", ())]) | (known.marks if known else frozenset())
        found[name] = Erasure(name, known.at_us if known else entry.at_us, entry.body["step"], marks,
                              known.why if known else str(entry.body.get("why", "")))
    return list(found.values())


def unfinished_erasures(shop: Shop) -> list[Erasure]:
    """Erasures that were cut off before their end."""
    return [one for one in erasures(shop) if one.step != "end"]


# What stands in whose place


def standing(shop: Shop, entry: str) -> str:
    """The entry that now stands for this one: itself, or the newest erasure's."""
    while found := shop.ledger.db.rows("select by_entry from erased where entry=?", (entry,)):
        entry = found[0][0]
    return entry


def current(shop: Shop) -> Iterator[Entry]:
    """Every entry that made an artifact and still stands for itself, oldest first."""
    replaced = replaced_in(shop.ledger.db)
    return (entry for entry in shop.ledger.entries(*MADE) if entry.id not in replaced and entry.body.get("output"))


def replace(shop: Shop, id: str, old: list[Entry], parts: tuple[Part, ...], *, forever: bool = True) -> list[Entry]:
    """Write the parts that stand in the place of these entries' own, all of which had the same.

    ``forever`` says that the old parts may never come back; what only went out of date may be collected again. A part that
    goes as a whole (a sheet of pictures) may come back too: made again, it is made of what is left.
    """
    from mofang.core.run import Cost

    db, made = shop.ledger.db, []
    parts = tuple(sorted(parts))
    kept = {part.digest for part in parts}
    with db.transaction():
        for one in old:
            before = one.body["output"]
            output = {"kind": before["kind"], "digest": manifest_digest(parts), "parts": [part.to_list() for part in parts]}
            licences = one.body.get("licences", [])
            cost = Cost().to_dict(shop.rates)
            body = {"stage": STAGE, "version": ERASE_VERSION, "settings": {}, "erasure": id, "erased": one.id,
                    "inputs": [{"entry": one.id, "digest": before["digest"], "within": "", "kind": before["kind"]}],
                    "output": output, "licences": licences, "added_licences": [], "nested": [], "measures": {},
                    **_let_go(before["parts"], {part.name for part in parts}, kept, forever=forever),
                    "lineage": digest_of({"erase": one.body.get("lineage", one.id), "output": output["digest"]}),
                    "cost": {"own": cost, "total": cost}}
            entry = shop.ledger.append_within("erase", one.key, shop.actor, body)
            db.run("insert into erased(entry, by_entry) values(?,?)", (one.id, entry.id))
            made.append(entry)
    return made


def _let_go(before: list[list[Any]], names: set[str], kept: set[str], *, forever: bool) -> dict[str, list[str]]:
    """The digests of old parts that are destroyed for good, and of those that may be made again."""
    old = [part for part in before if part[2] not in kept and not part[0].endswith(ABOUT)]
    destroyed = {part[2] for part in old if forever and part[0] in names}
    released = {part[2] for part in old} - destroyed
    return {name: sorted(some) for name, some in (("destroyed", destroyed), ("released", released)) if some}


def doomed(shop: Shop, how: str = "destroyed") -> set[str]:
    """Objects that erased artifacts had and that nothing else needs; ``released`` are those that may come again."""
    gone: set[str] = set()
    for entry in shop.ledger.entries("erase"):
        gone.update(entry.body.get(how, ()))
    if gone:
        for entry in current(shop):
            gone.difference_update(part[2] for part in entry.body["output"]["parts"])
    return gone


def destroyed(shop: Shop) -> set[str]:
    """The digests that were erased for good."""
    return destroyed_in(shop.ledger.db)


def destroyed_in(ledger: Database) -> set[str]:
    """The same of a ledger alone."""
    return {row[0] for row in ledger.rows("select mark from tombstone where kind='object'")}


def destroy(shop: Shop, digests: set[str]) -> None:
    """Destroy keys first, then files; safe to repeat."""
    if digests - shop.store.keys.gone():
        shop.store.keys.destroy(digests)
    for digest in sorted(digests):
        shop.store.remove(digest)


def release(shop: Shop, digests: set[str]) -> None:
    """Remove objects that are past their day, and their keys."""
    shop.store.keys.drop(digests)
    for digest in sorted(digests):
        shop.store.remove(digest)


def replaced_in(ledger: Database) -> set[str]:
    """Ids of entries in whose place another stands: their own files need not be there."""
    return {row[0] for row in ledger.rows("select entry from erased")}


def verify_erased(shop: Shop) -> list[str]:
    """Erased objects that are still there. While an erasure is under way its objects may be."""
    if unfinished_erasures(shop):
        return []
    return [f"object {digest[:12]} was erased and is still there" for digest in sorted(destroyed(shop) & shop.store.held())]
