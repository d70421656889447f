"""Which rows belong to somebody who is erased: by the person's column, and by the record's id wherever it went."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mofang.core.tombstones import Tombstones, spelled
from mofang.data.roles import ID, roles_of, with_role

# an id stays the same through the stages, or is named as the origin
ID_COLUMNS = (ID, "record", "of", "parent", "from_id", "augmented_from", "augmented_with")
WORD = re.compile(r"[0-9a-z_@.+-]")


@dataclass(frozen=True)
class Match:
    """Whom to look for. ``marks`` know people and records that only their keyed marks tell of."""

    marks: Tombstones
    people: frozenset[str] = frozenset()
    records: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    _known: dict[str, bool] = field(default_factory=dict, compare=False)

    def person(self, value: Any) -> bool:
        """True if a cell of a person's column names one of them."""
        text = "" if value is None else str(value)
        if text not in self._known:
            if len(self._known) > 200_000:
                self._known.clear()
            self._known[text] = bool(text) and (spelled(text) in self.people or self.marks.person(text))
        return self._known[text]

    def record(self, id: Any) -> bool:
        """True if this is the id of one of their records."""
        return isinstance(id, str) and (id in self.records or self.marks.record(id))

    def mentioned(self, text: Any) -> bool:
        """True if a text names one of them as a word of its own; for what readers set aside, which has no columns."""
        if not self.people or not isinstance(text, str) or not text:
            return False
        found = spelled(text)
        return any(_stands_alone(found, one) for one in self.people)

    def columns_of(self, schema: pa.Schema) -> tuple[list[str], list[str], list[str]]:
        """Of a table: the columns of people, of ids, and of what was set aside as text."""
        roles, names = roles_of(schema), list(schema.names)
        people = [name for name in self.columns if name in names] or with_role(roles, "person")
        ids = [name for name in ID_COLUMNS if name in names and pa.types.is_string(schema.field(name).type)]
        loose = ["detail", "value"] if set(names) == {"file", "row", "reason", "detail", "value"} else []
        return people, ids, loose

    def rows(self, batch: pa.RecordBatch, columns: tuple[list[str], list[str], list[str]]) -> npt.NDArray[np.bool_]:
        """Which rows of a batch go."""
        gone = np.zeros(batch.num_rows, np.bool_)
        for names, test in zip(columns, (self.person, self.record, self.mentioned), strict=True):
            for name in names:
                gone |= np.fromiter(map(test, batch.column(name).to_pylist()), np.bool_, batch.num_rows)
        return gone

    def in_object(self, value: Any) -> bool:
        """True if a JSON object is one of their records."""
        return isinstance(value, dict) and any(self.record(value.get(name)) for name in ID_COLUMNS)


def _stands_alone(text: str, wanted: str) -> bool:
    at = text.find(wanted)
    while at >= 0:
        before, after = text[at - 1:at], text[at + len(wanted):at + len(wanted) + 1]
        if not (WORD.match(wanted[0]) and WORD.match(before)) and not (WORD.match(wanted[-1]) and WORD.match(after)):
            return True
        at = text.find(wanted, at + 1)
    return False


def values_of(people: Sequence[str]) -> frozenset[str]:
    """People as they are compared."""
    return frozenset(filter(None, map(spelled, people)))
