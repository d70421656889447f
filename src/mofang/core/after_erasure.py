"""Backups after an erasure: they get what stands in the place of the old files, and lose these where they are plain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mofang.core.backup import OBJECTS, at_work
from mofang.core.copying import NEW, link_or_copy, sync_all
from mofang.core.encrypted import is_encrypted
from mofang.core.erased import destroyed
from mofang.core.kept import read_kept
from mofang.core.store import Store
from mofang.core.tombfile import note_tombs

if TYPE_CHECKING:
    from mofang.core.shop import Shop


def backup_folder(shop: Shop) -> Path | None:
    """Where the last backup went, if that can be reached."""
    place = read_kept(shop.path).get("backup", {}).get("place")
    folder = Path(place).parent if place else None
    return folder if folder is not None and (folder / OBJECTS).is_dir() else None


def bring_backups_up_to_date(shop: Shop) -> int:
    """Write the tombstones beside the keys and the backups; how many files were removed from the backups.

    The new files come first, so that an older backup can be restored with everybody else in it. An encrypted old file
    stays: its key is destroyed, and with a key ring of before, a restore takes everybody else's rows out of it.
    """
    folder = backup_folder(shop)
    if folder is None:
        note_tombs(shop)
        return 0
    removed = 0
    with at_work(folder):
        home = Store(folder / OBJECTS)
        _bring_new(shop, home)
        note_tombs(shop, folder)
        for digest in destroyed(shop):
            if home.has(digest) and not is_encrypted(home.path(digest), digest):
                home.remove(digest)
                removed += 1
    return removed


def _bring_new(shop: Shop, home: Store) -> None:
    arrived: list[tuple[Path, Path]] = []
    wanted = {part[2] for entry in shop.ledger.entries("erase") for part in entry.body["output"]["parts"]}
    for digest in sorted(wanted):
        place = home.path(digest)
        if place.exists() or not shop.store.has(digest):
            continue
        place.parent.mkdir(exist_ok=True)
        beside = place.with_name(f"{NEW}{digest}")
        beside.unlink(missing_ok=True)
        link_or_copy(shop.store.path(digest), beside, link=True)
        arrived.append((beside, place))
    sync_all(home.root, [beside for beside, _ in arrived])
    for beside, place in arrived:
        os.replace(beside, place)
    sync_all(home.root, [place for _, place in arrived])
