"""Diff: what changed between two sets of records or two snapshots, record by record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.columns import text_of
from mofang.data.exporting.files import record_parts, require_records
from mofang.data.records import RecordReader
from mofang.data.roles import ID, with_role
from mofang.data.snapshots.survivors import PAIRED, Ids, packed, places_in

BATCH_ROWS = 1 << 16
SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("change", pa.string()),
        ("part_before", pa.string()),
        ("part_after", pa.string()),
        ("label_before", pa.string()),
        ("label_after", pa.string()),
    ]
)
CHANGES = ("added", "removed", "relabelled", "moved")


class Difference(Artifact):
    """What changed: ``changes.parquet`` (a row for each record that is new, gone, relabelled or in another part) and
    ``report.json``."""

    kind = "difference"


@stage(version=1)
def diff(run: Run, before: Artifact, after: Artifact) -> Difference:
    """Compare two sets of records or two snapshots: which records are new, gone, relabelled, or changed sides.

    A record is known by its id, which follows from what it says; a record whose text changed is a new one and the old one
    is gone. Memory holds 32 bytes for each record of both.
    """
    require_records("diff", before, after)
    with run.progress("Comparing", "正在比较", 2) as bar:
        old = _Side.read(before)
        bar.advance(1)
        new = _Side.read(after)
        bar.advance(1)
    counts: Counter[str] = Counter()
    with run.part("changes.parquet") as path, pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in _changes(old, new):
            counts.update(table.column("change").to_pylist())
            writer.write_batch(table)
    edited = min(counts["added"], counts["removed"])
    found = {change: counts[change] for change in CHANGES}
    columns = _columns(old.columns, new.columns)
    report = {
        "rows": {"before": len(old.ids), "after": len(new.ids)},
        **found,
        "edited_at_most": edited,
        "parts": {"before": old.by_part(), "after": new.by_part()},
        "classes": {"before": old.by_class(), "after": new.by_class()},
        "columns": columns,
        "licences": {"before": list(before.licences), "after": list(after.licences)},
    }
    run.write_json("report.json", report)
    run.measure(rows_before=len(old.ids), rows_after=len(new.ids), **found)
    return run.result(Difference)


@dataclass
class _Side:
    """All records of one side in the order of their ids: part and label of each, as numbers into lists of names."""

    ids: Ids
    parts: npt.NDArray[np.int16]
    labels: npt.NDArray[np.int32]
    part_names: list[str]
    label_names: list[str | None]
    columns: dict[str, str]

    @classmethod
    def read(cls, artifact: Artifact) -> _Side:
        sets = record_parts(artifact)
        known: dict[str | None, int] = {None: 0}
        ids, parts, labels = [np.zeros(0, PAIRED)], [np.zeros(0, np.int16)], [np.zeros(0, np.int32)]
        columns: dict[str, str] = {}
        for number, records in enumerate(sets.values()):
            reader = RecordReader(records)
            columns |= reader.roles
            label = next(iter(with_role(reader.roles, "label")), "")
            for batch in reader.batches(BATCH_ROWS, media=False, columns=[label] if label else []):
                values = [text_of(one) for one in batch.column(label)] if label else [None] * len(batch)
                ids.append(packed(batch.column(ID)))
                parts.append(np.full(len(batch), number, np.int16))
                labels.append(np.array([known.setdefault(one, len(known)) for one in values], np.int32))
        whole = np.concatenate(ids)
        order = np.argsort(whole, order=("hi", "lo"))
        return cls(whole[order], np.concatenate(parts)[order], np.concatenate(labels)[order], list(sets), list(known), columns)

    def by_part(self) -> dict[str, int]:
        """How many records each part has."""
        counts = np.bincount(self.parts, minlength=len(self.part_names))
        return {name: int(counts[number]) for number, name in enumerate(self.part_names)}

    def by_class(self) -> dict[str, int]:
        """How many records each class has; those without a label are not counted."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return {str(name): int(counts[number]) for number, name in enumerate(self.label_names) if name is not None}

    def label(self, place: int) -> str | None:
        return self.label_names[int(self.labels[place])]

    def part(self, place: int) -> str:
        return self.part_names[int(self.parts[place])]


def _changes(old: _Side, new: _Side) -> Iterator[pa.RecordBatch]:
    """Every change in the order of ids: first what is gone, then what is new or otherwise not as before."""
    places = places_in(new.ids, old.ids)
    gone = np.nonzero(places < 0)[0]
    for start in range(0, len(gone), BATCH_ROWS):
        yield _table(
            [(old.ids[one], "removed", old.part(one), None, old.label(one), None) for one in gone[start : start + BATCH_ROWS]]
        )
    places = places_in(old.ids, new.ids)
    for start in range(0, len(places), BATCH_ROWS):
        rows: list[tuple[Any, ...]] = []
        for one in range(start, min(start + BATCH_ROWS, len(places))):
            was = int(places[one])
            if was < 0:
                rows.append((new.ids[one], "added", None, new.part(one), None, new.label(one)))
                continue
            told = (old.part(was), new.part(one), old.label(was), new.label(one))
            if told[2] != told[3]:
                rows.append((new.ids[one], "relabelled", *told))
            if told[0] != told[1] and set(old.part_names) & set(new.part_names):
                rows.append((new.ids[one], "moved", *told))
        if rows:
            yield _table(rows)


def _table(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    ids = [f"{int(row[0]['hi']):016x}{int(row[0]['lo']):016x}" for row in rows]
    columns = [ids, *([row[place] for row in rows] for place in range(1, len(SCHEMA)))]
    return pa.RecordBatch.from_arrays([pa.array(one, pa.string()) for one in columns], schema=SCHEMA)


def _columns(old: dict[str, str], new: dict[str, str]) -> dict[str, Any]:
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "other_role": {name: [old[name], new[name]] for name in new if name in old and old[name] != new[name]},
    }
