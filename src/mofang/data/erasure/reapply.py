"""A restored older backup, brought up to date: whoever was erased since is erased from it again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mofang.core import erased
from mofang.core.artifact import Part
from mofang.core.copying import NEW, link_or_copy
from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.personal import Sought
from mofang.core.shop import Shop
from mofang.core.store import Store
from mofang.core.tombfile import Tombs, note_tombs
from mofang.core.tombstones import Tombstones
from mofang.data.erasure.erase import groups, hold, touched_artifacts
from mofang.data.erasure.match import Match
from mofang.data.erasure.rewrite import rewrite


def reapply(shop: Shop, tombs: Tombs, objects: Path | None = None, *, always: bool = False) -> dict[str, int]:
    """Erase again what the tombstones name; ``objects`` is where a backup's files lie. Safe to repeat.

    What the ledger knows already is left alone, unless ``always``: a shop whose keys came later could not be read then.

    Answers how many artifacts were replaced by what an erasure once made of them, rewritten here, and lost because the
    old files cannot be read any more and the new ones are not there.
    """
    if tombs.shop and tombs.shop != str(shop.settings["id"]):
        raise MofangError("tombstones-other-shop")
    known = {row[0] for row in shop.ledger.db.rows("select mark from tombstone")}
    waiting = erased.unfinished_erasures(shop)
    if not always and not waiting and not ((tombs.person | tombs.record | tombs.object) - known):
        return {"replaced": 0, "rewritten": 0, "lost": 0}
    id = waiting[0].id if waiting else erased.begin(shop, tombs.person - known, tombs.record - known, "restored")
    replaced = _replace(shop, id, tombs, Store(objects) if objects else None)
    match = Match(Tombstones.only(shop, tombs.person | tombs.record | {m for one in waiting for m in one.marks}))
    rewritten, lost = _rewrite(shop, id, match)
    doomed = erased.doomed(shop) | tombs.object | _unreadable(shop, lost)
    erased.condemn(shop, id, doomed)
    erased.destroy(shop, doomed)
    erased.release(shop, erased.doomed(shop, "released"))
    hold(shop, Sought(match.marks))
    note_tombs(shop)
    told = {"replaced": replaced, "rewritten": rewritten, "lost": len(lost)}
    for one in {id, *(one.id for one in waiting)}:
        erased.end(shop, one, told)
    return told


def _replace(shop: Shop, id: str, tombs: Tombs, source: Store | None) -> int:
    """Put the parts that an erasure once made into the place of the old ones, where they can be had."""
    count, again = 0, True
    while again:
        again = False
        for entries in groups(shop):
            rows = tombs.replaced.get(entries[0].body["output"]["digest"])
            parts = tuple(Part(*row) for row in rows or ())
            if parts and all(_brought(shop, part.digest, source) for part in parts):
                erased.replace(shop, id, entries, parts)
                count, again = count + 1, True
    return count


def _brought(shop: Shop, digest: str, source: Store | None) -> bool:
    """True if an object is here and whole, brought from the backup if need be."""
    if not shop.store.has(digest) and source is not None and source.has(digest):
        place = shop.store.path(digest)
        place.parent.mkdir(exist_ok=True)
        beside = place.with_name(f"{NEW}{digest}.{new_id('b')}")
        link_or_copy(source.path(digest), beside, link=False)
        os.replace(beside, place)
        if shop.store.check(digest) is not None:  # its key is not in this ring
            shop.store.remove(digest)
    return shop.store.check(digest) is None


def _unreadable(shop: Shop, lost: list[str]) -> set[str]:
    """What else of the lost artifacts has no key any more, such as a sheet that went as a whole: it counts as destroyed."""
    parts = {part.digest for entry in lost for part in shop.artifact(shop.ledger.get(entry)).parts}
    return {digest for digest in parts if shop.store.check(digest) is not None}


def _rewrite(shop: Shop, id: str, match: Match) -> tuple[int, list[str]]:
    scratch = shop.path / "scratch" / f"erase-{id}"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    count = 0
    try:
        while True:
            found, lost = touched_artifacts(shop, lambda _: match)
            for entries, artifact, gone in found:
                erased.replace(shop, id, entries, rewrite(shop, artifact, match, gone, scratch))
                count += 1
            if not found:
                return count, [str(one["entry"]) for one in lost]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
