"""What lies around in a shop and nobody needs: scratch of runs that are over, files that nothing mentions, torn pieces.

Never touched is what an entry, a journal, a seal, a living run or a run that can still go on mentions. A run's scratch is
taken away only under the run's own lease. A file is moved aside first and comes back if somebody has asked for it in that
very moment (``Store.keep`` touches what it finds). Backups hold files of their own and miss nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mofang.core.copying import remove_tree
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.run import lease_if_free, lives

if TYPE_CHECKING:
    from mofang.core.shop import Shop

RESUMABLE_DAYS = 7  # an unfinished run that nobody continued for so long is given up
YOUNG_S = 24 * 3600.0  # a file may wait so long for the entry that will mention it
TORN_S = 3600.0
CACHE_S = 30 * 24 * 3600.0
DIGEST = re.compile(r"[0-9a-f]{64}")
SERVING = re.compile(r"serving-(?:[\w.-]*-)?(\d+)\.json")
ASIDE = ".swept-"

Kind = Literal["finished", "abandoned", "unmentioned", "torn", "cache", "older"]


@dataclass(frozen=True)
class Litter:
    """One thing that may go. ``changed_ns`` is its newest change when it was looked at."""

    kind: Kind
    path: Path
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Swept:
    """What a sweep removed; ``spared`` had come to life again since it was listed."""

    removed: int
    size_bytes: int
    spared: int


def litter(shop: Shop, days: float = RESUMABLE_DAYS) -> list[Litter]:
    """Everything in the shop that nobody needs, with its size; nothing is touched."""
    now_ns = time.time_ns()
    found = list(_scratch(shop, now_ns, days))
    going = {one.path for one in found}
    needed = mentioned(shop, going)
    found += _unmentioned(shop, needed, now_ns)
    return found + list(_torn(shop.path, now_ns)) + list(_caches(shop.path, now_ns))


def sweep(shop: Shop, found: list[Litter]) -> Swept:
    """Remove what ``litter`` listed, after looking at each thing once more. Scratch goes first."""
    removed = size_bytes = 0
    for one in (each for each in found if each.kind in ("finished", "abandoned")):
        if _remove_scratch(shop, one):
            removed, size_bytes = removed + 1, size_bytes + one.size_bytes
    needed = mentioned(shop, set())  # of the scratch that is still there now
    for one in (each for each in found if each.kind not in ("finished", "abandoned")):
        gone = one.path.name not in needed and _remove_file(one)
        removed, size_bytes = removed + gone, size_bytes + gone * one.size_bytes
    _drop_keys(shop, needed)
    return Swept(removed, size_bytes, len(found) - removed)


def _drop_keys(shop: Shop, needed: set[str]) -> None:
    """Forget the keys of objects that are gone and that nothing mentions; a crash may have left a key alone."""
    there, now = shop.store.held(), now_us()
    spare = [digest for digest, at_us in shop.store.keys.held()
             if digest not in there and digest not in needed and now - at_us > YOUNG_S * 1e6]
    if spare:
        shop.store.keys.drop(spare)


# What is needed


def mentioned(shop: Shop, going: set[Path]) -> set[str]:
    """Every digest in the ledger, the journals (usage rows mention none), the seals, and the parts of unfinished runs."""
    found: set[str] = set()
    for place in (shop.path / "scratch").glob("*/parts.jsonl"):  # first: a run that ends meanwhile is in the ledger below
        if place.parent not in going:
            with contextlib.suppress(FileNotFoundError):
                found.update(DIGEST.findall(place.read_text(encoding="utf-8", errors="replace")))
    of_ledger = ("select body from entry", "select value from once", "select document from foreign_shop",
                 "select document from foreign_entry")
    for text in _texts(shop.ledger.db, *of_ledger):
        found.update(DIGEST.findall(text))
    for text in _texts(shop.journals.db, "select body from journal where journal<>'usage'", "select digest from seal"):
        found.update(DIGEST.findall(text))
    return found


def _texts(db: Database, *queries: str) -> Iterator[str]:
    for sql in queries:
        for page in db.pages(sql):
            for (text,) in page:
                yield text

SHARED = {"limits", "access"}  # of serving processes that may be alive: written in place, so that their times say nothing


# What lies around


def _scratch(shop: Shop, now_ns: int, days: float) -> Iterator[Litter]:
    """Folders of runs that have ended, and of those that nobody has continued for days."""
    folder = shop.path / "scratch"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in SHARED:
            continue
        size_bytes, changed_ns = _measured(path)
        age_s = (now_ns - changed_ns) / 1e9
        if DIGEST.fullmatch(path.name):
            if lives(shop, path.name):
                continue
            last = shop.ledger.db.rows("select kind from entry where key=? order by seq desc limit 1", (path.name,))
            if last and last[0][0] in ("done", "reuse"):
                yield Litter("finished", path, size_bytes, changed_ns)
            elif age_s > days * 24 * 3600:
                yield Litter("abandoned", path, size_bytes, changed_ns)
        elif serving := SERVING.fullmatch(path.name):
            if age_s > TORN_S and not _alive(int(serving[1])):
                yield Litter("torn", path, size_bytes, changed_ns)
        elif age_s > max(YOUNG_S, days * 24 * 3600):
            yield Litter("torn", path, size_bytes, changed_ns)


def _unmentioned(shop: Shop, needed: set[str], now_ns: int) -> Iterator[Litter]:
    for folder in os.scandir(shop.store.root):
        if not folder.is_dir():
            continue
        for file in os.scandir(folder.path):
            about = file.stat(follow_symlinks=False)
            if file.name in needed or now_ns - arrived_ns(about) < YOUNG_S * 1e9:
                continue
            kind: Kind = "unmentioned" if DIGEST.fullmatch(file.name) else "torn"
            yield Litter(kind, Path(file.path), about.st_size, about.st_mtime_ns)


def arrived_ns(about: os.stat_result) -> int:
    """When a file came to where it lies: a rename or a link changes its inode, if not its bytes."""
    return max(about.st_mtime_ns, about.st_ctime_ns)


def _torn(place: Path, now_ns: int) -> Iterator[Litter]:
    """What a crash left of a file that was about to take another's place."""
    for pattern in (".*.new", "*.migrating", "keys/tmp*", "keys/.*.new"):
        for path in place.glob(pattern):
            size_bytes, changed_ns = _measured(path)
            if now_ns - changed_ns > TORN_S * 1e9:
                yield Litter("torn", path, size_bytes, changed_ns)


def _caches(place: Path, now_ns: int) -> Iterator[Litter]:
    for path in place.glob("*.db.format-*"):  # left beside by a change of format; nothing opens them any more
        if now_ns - arrived_ns(path.stat()) > CACHE_S * 1e9:
            yield Litter("older", path, *_measured(path))
    for path in (place / "cache").rglob("*"):
        if path.is_file():
            size_bytes, changed_ns = _measured(path)
            if now_ns - changed_ns > CACHE_S * 1e9:
                yield Litter("cache", path, size_bytes, changed_ns)


def _measured(path: Path) -> tuple[int, int]:
    """Bytes of a file, or of all files below a folder, and the newest change; what vanishes meanwhile counts for nothing."""
    size_bytes = changed_ns = 0
    places = [str(path)]
    for root, folders, files in os.walk(path):
        places += [os.path.join(root, name) for name in (*folders, *files)]
    for place in places:
        try:
            about = os.lstat(place)
        except FileNotFoundError:
            continue
        size_bytes += 0 if stat.S_ISDIR(about.st_mode) else about.st_size
        changed_ns = max(changed_ns, about.st_mtime_ns)
    return size_bytes, changed_ns


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# Removing


def _remove_scratch(shop: Shop, one: Litter) -> bool:
    """Take a run's folder away while holding the run's lease, so that nobody continues it meanwhile."""
    aside = one.path.with_name(f"{ASIDE}{one.path.name}-{now_us()}")
    with lease_if_free(shop, one.path.name) as free:
        if not free or not one.path.exists() or _measured(one.path)[1] != one.changed_ns:
            return False
        os.rename(one.path, aside)
    remove_tree(aside)
    return True


def _remove_file(one: Litter) -> bool:
    """Move aside, look whether somebody touched it in that moment, then remove."""
    if one.path.is_dir():
        remove_tree(one.path)
        return True
    aside = one.path.with_name(f"{ASIDE}{one.path.name}")
    try:
        if one.path.stat().st_mtime_ns != one.changed_ns:
            return False
        os.rename(one.path, aside)
    except FileNotFoundError:
        return False
    if aside.stat().st_mtime_ns != one.changed_ns and not one.path.exists():
        os.rename(aside, one.path)
        return False
    aside.unlink()
    return True
