"""The tombstones of a shop as a file: what a restored older backup needs, so that nobody who was erased comes back.

It holds keyed marks and digests, no content. It lies beside the backups and in the key ring, and every erasure writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.canonical import canonical, write_durably
from mofang.core.errors import MofangError

if TYPE_CHECKING:
    from mofang.core.shop import Shop

TOMBS_FORMAT = 1
WHAT = "mofang tombstones"
NAME = "mofang-tombstones.json"  # beside backups
RING_NAME = "tombstones.json"  # below keys/, and so in the key ring
KINDS = ("person", "record", "object")


@dataclass
class Tombs:
    """Marks of people and records, digests of erased objects, and by which parts an artifact was replaced."""

    shop: str = ""
    person: set[str] = field(default_factory=set)
    record: set[str] = field(default_factory=set)
    object: set[str] = field(default_factory=set)
    replaced: dict[str, list[list[Any]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.person or self.record or self.object)

    def add(self, other: Tombs) -> None:
        """Take over another file's; they must be of the same shop."""
        if self.shop and other.shop and self.shop != other.shop:
            raise MofangError("tombstones-other-shop")
        self.shop = self.shop or other.shop
        for kind in KINDS:
            getattr(self, kind).update(getattr(other, kind))
        self.replaced |= other.replaced

    def written(self) -> bytes:
        """As the bytes of a file."""
        return canonical({"format": TOMBS_FORMAT, "what": WHAT, "shop": self.shop, "replaced": self.replaced,
                          **{kind: sorted(getattr(self, kind)) for kind in KINDS}})


def tombs_of(shop: Shop) -> Tombs:
    """What the ledger says."""
    found = Tombs(str(shop.settings["id"]))
    for mark, kind in shop.ledger.db.rows("select mark, kind from tombstone"):
        getattr(found, kind).add(mark)
    for entry in shop.ledger.entries("erase") if found else ():
        found.replaced[entry.body["inputs"][0]["digest"]] = entry.body["output"]["parts"]
    return found


def read_tombs(data: bytes, place: object) -> Tombs:
    """The tombstones of a file's bytes; raises ``tombstones-unreadable``."""
    try:
        told: dict[str, Any] = json.loads(data)
        if told["what"] != WHAT or told["format"] != TOMBS_FORMAT:
            raise ValueError
        person, record, object = (set(map(str, told[kind])) for kind in KINDS)
        return Tombs(str(told["shop"]), person, record, object, dict(told["replaced"]))
    except (ValueError, KeyError, TypeError):
        raise MofangError("tombstones-unreadable", place=place) from None


def tombs_in(folder: Path) -> Tombs:
    """What lies beside the backups of a folder; nothing if nobody was ever erased."""
    place = folder / NAME
    return read_tombs(place.read_bytes(), place) if place.exists() else Tombs()


def tombs_in_ring(ring: Mapping[str, bytes]) -> Tombs:
    """What a key ring carries."""
    return read_tombs(ring[RING_NAME], RING_NAME) if RING_NAME in ring else Tombs()


def note_tombs(shop: Shop, *folders: Path) -> None:
    """Write the file anew among the keys and beside the backups, with what other shops' backups have there kept."""
    found = tombs_of(shop)
    if not found:
        return
    (shop.path / "keys").mkdir(mode=0o700, exist_ok=True)
    write_durably(shop.path / "keys" / RING_NAME, found.written())
    for folder in folders:
        there = tombs_in(folder)
        if not there.shop or there.shop == found.shop:
            there.add(found)
            write_durably(folder / NAME, there.written())
