"""After a restore: whoever was erased since the backup was made is erased from it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mofang.core.errors import MofangError
from mofang.core.tombfile import Tombs, read_tombs, tombs_in, tombs_in_ring


def tombs_of_restore(backups: Path, ring: Mapping[str, bytes], file: Path | None) -> Tombs:
    """All tombstones that are known of a shop: beside its backups, in its key ring, and in a file that was named."""
    found = tombs_in(backups)
    found.add(tombs_in_ring(ring))
    if file is not None:
        try:
            found.add(read_tombs(file.read_bytes(), file))
        except OSError:
            raise MofangError("tombstones-unreadable", place=file) from None
    return found


def erase_again(shop: Path, tombs: Tombs, objects: Path | None, *, always: bool = False) -> dict[str, int]:
    """Erase what the tombstones name from a restored shop; empty if there are none. ``always`` looks at every record again."""
    if not tombs:
        return {}
    from mofang.core.shop import Shop
    from mofang.data.erasure.reapply import reapply

    return reapply(Shop.open(shop, make=False), tombs, objects, always=always)
