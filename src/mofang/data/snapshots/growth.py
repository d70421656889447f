"""How a set of records grew since an earlier one: what is new, what is gone, and whose label changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.core.artifact import Artifact
from mofang.data.cleaning.duplicates import label_key
from mofang.data.columns import text_of
from mofang.data.records import RecordReader
from mofang.data.roles import ID, with_role
from mofang.data.snapshots.survivors import PAIRED, Ids, packed, places_in

BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Growth:
    """How many records are new, gone, or have another label than before. A record whose text changed is a new one, and
    the old one is gone; ``changed`` is how many of either can be paired so."""

    new: int
    gone: int
    relabelled: int

    @property
    def edited(self) -> int:
        """New records that probably are edited old ones: as many as are both new and gone."""
        return min(self.new, self.gone)

    @property
    def changed(self) -> int:
        """Records that are not as they were: edited or with another label."""
        return self.edited + self.relabelled

    @property
    def added(self) -> int:
        """New records beyond the edited ones."""
        return self.new - self.edited

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.relabelled)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {**asdict(self), "added": self.added, "changed": self.changed}


def grown(old: Artifact, new: Artifact) -> Growth:
    """Compare two sets of records by id; memory holds 24 bytes for each old record and one batch of the new ones.

    Ids depend on which columns were collected: after a change of columns every record is new.
    """
    if old.digest == new.digest:
        return Growth(0, 0, 0)
    known, labels = _sorted(old)
    rows = met = relabelled = 0
    for ids, keys in _stream(new):
        places = places_in(known, ids)
        there = places >= 0
        rows += len(ids)
        met += int(there.sum())
        relabelled += int(np.sum(labels[places[there]] != keys[there]))
    return Growth(rows - met, len(known) - met, relabelled)


def _sorted(records: Artifact) -> tuple[Ids, npt.NDArray[np.uint64]]:
    """All ids in order, with the key of each one's label."""
    pieces = list(_stream(records))
    if not pieces:
        return np.zeros(0, PAIRED), np.zeros(0, np.uint64)
    ids, labels = (np.concatenate(one) for one in zip(*pieces, strict=True))
    order = np.argsort(ids, order=("hi", "lo"))
    return ids[order], labels[order]


def _stream(records: Artifact) -> Iterator[tuple[Ids, npt.NDArray[np.uint64]]]:
    reader = RecordReader(records)
    known: dict[Any, int] = {}
    label = next(iter(with_role(reader.roles, "label")), "")
    for batch in reader.batches(BATCH_ROWS, media=False, columns=[label] if label else []):
        values = batch.column(label) if label else [None] * len(batch)
        keys = [known[value] if value in known else known.setdefault(value, label_key(text_of(value))) for value in values]
        yield packed(batch.column(ID)), np.array(keys, np.uint64)
