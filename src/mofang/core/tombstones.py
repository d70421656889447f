"""Tombstones: who and what was erased, as keyed marks that say nothing to anybody without the shop's key.

Whatever brings records in asks here first, so an erased person does not come back with the next delivery, an older
backup, or another copy of the source.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mofang.core.shop import Shop

SECRET = "tombstones"
WORDS = re.compile(r"[\s,;:|\"'()\[\]{}<>，；：。（）《》“”]+")


def spelled(value: str) -> str:
    """A person's name or number as it is compared: full-width signs, case and outer spaces make no difference."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).strip()


class Tombstones:
    """What was erased from a shop, as it is known now; ``person`` and ``record`` answer from memory."""

    def __init__(self, shop: Shop) -> None:
        self._set(shop, {row[0] for row in shop.ledger.db.rows("select mark from tombstone where kind<>'object'")})

    @classmethod
    def only(cls, shop: Shop, marks: Iterable[str]) -> Tombstones:
        """Some marks and no others."""
        made = cls.__new__(cls)
        made._set(shop, set(marks))
        return made

    def _set(self, shop: Shop, marks: set[str]) -> None:
        there = (shop.path / "keys" / f"{SECRET}.key").exists()  # not so in a shop that was restored without its keys
        self._marks = marks if there else set()
        self._key = shop.secret(SECRET) if self._marks else b""
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._marks)

    def person(self, value: str) -> bool:
        """True if this person was erased."""
        if not self._marks or not value:
            return False
        found = self._known.get(value)
        if found is None:
            if len(self._known) > 100_000:
                self._known.clear()
            found = self._known[value] = person_mark(self._key, value) in self._marks
        return found

    def mentioned(self, text: str) -> bool:
        """True if a text is, or holds as a word of its own, somebody who was erased."""
        return bool(self._marks) and any(map(self.person, {text, *WORDS.split(text)}))

    def record(self, id: str) -> bool:
        """True if the record with this id was erased."""
        return bool(self._marks) and record_mark(self._key, id) in self._marks


def person_mark(key: bytes, value: str) -> str:
    """The keyed mark of a person."""
    return _mark(key, b"person", spelled(value))


def record_mark(key: bytes, id: str) -> str:
    """The keyed mark of a record."""
    return _mark(key, b"record", id)


def _mark(key: bytes, kind: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=16, person=b"mofang " + kind).hexdigest()
