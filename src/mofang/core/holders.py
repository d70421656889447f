"""What core itself keeps of people outside the artifacts: sealed journal entries, uploads, caches, unfinished runs."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mofang.core.copying import remove_tree
from mofang.core.encrypted import is_encrypted
from mofang.core.personal import Sought, forgets
from mofang.core.run import lives
from mofang.core.subjects import forget_many, mark_of
from mofang.core.sweep import mentioned
from mofang.core.unlocked import process_lives

if TYPE_CHECKING:
    from mofang.core.shop import Shop

ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
TORN = re.compile(r"\.[0-9a-f]{64}\.(\d+)")
RUN = re.compile(r"[0-9a-f]{64}")


def spellings(values: tuple[str, ...]) -> list[bytes]:
    """The bytes under which a value may lie in a file: in the usual encodings, and as JSON writes it."""
    found: set[bytes] = set()
    for value in values:
        for one in {value, value.upper(), value.title()}:
            found.update(one.encode(name, "ignore") for name in ENCODINGS)
            found.add(json.dumps(one)[1:-1].encode())
    return sorted(one for one in found if len(one) >= 2)


def holds(path: Path, wanted: list[bytes]) -> bool:
    """True if a file holds one of these as plain bytes."""
    if not wanted or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as seen:
        return any(seen.find(one) >= 0 for one in wanted)


@forgets("subjects")
def sealed_entries(shop: Shop, sought: Sought) -> dict[str, int]:
    """Keys of what journals say about the person and the records."""
    subjects = [*sought.values, *sought.subjects]
    if not subjects:
        return {}
    if not sought.dry:
        return {"sealed journal keys": forget_many(shop, subjects)}
    if not shop.store.keys.path.exists():
        return {}
    known = shop.store.keys.of_subjects([mark_of(shop, one) for one in subjects], make=False)
    return {"sealed journal keys": sum(map(bool, known.values()))}


@forgets("uploads")
def uploads(shop: Shop, sought: Sought) -> dict[str, int]:
    """Files that people sent from other machines and that show the person."""
    wanted = spellings(sought.values)
    found = [path for path in shop.path.glob("uploads/*/files/*") if holds(path, wanted)]
    if not sought.dry:
        for path in found:
            path.unlink(missing_ok=True)
    return {"uploaded files": len(found)}


@forgets("cache")
def caches(shop: Shop, sought: Sought) -> dict[str, int]:
    """Cached files that show the person; what a source was fetched into is fetched again without them."""
    wanted = spellings(sought.values)
    found = [path for path in (shop.path / "cache").rglob("*") if holds(path, wanted)]
    if not sought.dry:
        for path in found:
            path.unlink(missing_ok=True)
    return {"cached files": len(found)}


@forgets("scratch")
def scratch(shop: Shop, sought: Sought) -> dict[str, int]:
    """Work of runs that were cut off: it may hold anybody, in plain or in compressed form, so all of it goes."""
    found = [path for path in (shop.path / "scratch").glob("*") if RUN.fullmatch(path.name) and not lives(shop, path.name)]
    if sought.dry:
        return {"unfinished runs": len(found)}
    for path in found:
        remove_tree(path)
    for path in shop.store.root.glob("*/.*"):
        torn = TORN.fullmatch(path.name)
        if torn and not process_lives(int(torn[1])):
            path.unlink(missing_ok=True)
    orphans = [digest for digest in shop.store.held() - mentioned(shop, set())
               if RUN.fullmatch(digest) and is_encrypted(shop.store.path(digest), digest)]
    for digest in orphans:
        shop.store.remove(digest)
    if orphans:
        shop.store.keys.drop(orphans)
    return {"unfinished runs": len(found), "objects of unfinished runs": len(orphans)}
