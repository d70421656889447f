"""Whoever was erased from the shop does not come back with the next delivery of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mofang.core.tombstones import Tombstones
from mofang.data.roles import ID, with_role

Reject = Callable[..., None]
Columns = dict[str, list[Any]]
Media = dict[str, list[bytes]]


def without_erased(columns: Columns, media: Media, roles: dict[str, str], erased: Tombstones) -> tuple[Columns, Media, int]:
    """Columns (ids among them) and media without the rows of erased people and records, and how many rows went."""
    if not erased:
        return columns, media, 0
    people = [columns[name] for name in with_role(roles, "person") if name in columns]
    ids = columns[ID]
    kept = [row for row, id in enumerate(ids)
            if not erased.record(id) and not any(erased.person(str(values[row] or "")) for values in people)]
    if len(kept) == len(ids):
        return columns, media, 0
    return ({name: [values[row] for row in kept] for name, values in columns.items()},
            {name: [values[row] for row in kept] for name, values in media.items()}, len(ids) - len(kept))


def quiet(reject: Reject, columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], roles: dict[str, str],
          erased: Tombstones) -> Reject:
    """The same way to set rows aside, which says nothing of a row that belongs to an erased person."""
    people = [columns[name] for name in with_role(roles, "person") if name in columns]
    if not erased or not people:
        return reject
    theirs = {number for row, number in enumerate(numbers) if any(erased.person(str(one[row] or "")) for one in people)}

    def set_aside(file: str, row: int, reason: str, detail: str = "", value: str = "") -> None:
        reject(file, row, reason, *(() if row in theirs else (detail, value)))

    return set_aside
