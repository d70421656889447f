"""What came into the records since the last time: new rows, rows that are gone, rows whose label was changed."""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.artifact import Artifact
from mofang.data.records import RecordReader
from mofang.data.roles import with_role


@dataclass(frozen=True)
class Growth:
    """Counts of rows."""

    new: int
    gone: int
    relabelled: int


def grown(old: Artifact, new: Artifact) -> Growth:
    """Compare two sets of records by their ids."""
    before, after = _labels(old), _labels(new)
    both = before.keys() & after.keys()
    changed = sum(before[one] != after[one] for one in both)
    return Growth(len(after) - len(both), len(before) - len(both), changed)


def _labels(records: Artifact) -> dict[str, str]:
    reader = RecordReader(records)
    names = with_role(reader.roles, "label")[:1]
    found: dict[str, str] = {}
    for batch in reader.batches(media=False, columns=names):
        labels = batch.column(names[0]) if names else [""] * len(batch)
        found.update(zip(batch.column("id"), map(str, labels), strict=True))
    return found
