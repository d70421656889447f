"""Free text that people write while labelling may say something of somebody: it is locked with its record's own key.

The chain of the journal covers what is locked, so that destroying the key takes the words away and leaves the proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mofang.core.subjects import open_, open_many, seal

if TYPE_CHECKING:
    from mofang.core.shop import Shop

GONE = {"text": "", "erased": True}


def lock_words(shop: Shop, record: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body as the journal holds it; raises ``subject-erased`` for a record that was erased."""
    return {"subject": record, "sealed": seal(shop, record, body)}


def open_words(shop: Shop, body: dict[str, Any]) -> dict[str, Any]:
    """The body as it was said; empty words after erasure."""
    if "sealed" not in body:
        return body
    found = open_(shop, body["subject"], body["sealed"])
    return dict(GONE) if found is None else found


def open_all(shop: Shop, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for many at once."""
    locked = [(one["subject"], one["sealed"]) for one in bodies if "sealed" in one]
    found = [dict(GONE) if one is None else one for one in open_many(shop, locked)]
    opened = iter(found)
    return [next(opened) if "sealed" in one else one for one in bodies]
