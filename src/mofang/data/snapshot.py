"""Snapshot: labelled records split into training, validation and test part, so that an old record never
changes sides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.collecting.provenance import sources_of
from mofang.data.records import Batch, RecordReader, Records, RecordWriter
from mofang.data.roles import ID, INPUT_ROLES, field, with_role
from mofang.data.snapshots.sides import (
    GROUPS_LEAST,
    PARTS,
    TRAIN,
    UNKNOWN,
    Cut,
    Earlier,
    Shares,
    Sides,
    SplitKeys,
    numbers_of,
    settle,
    side_of,
    sides_by_time,
    tie_numbers,
    with_every_part,
    written,
)
from mofang.data.snapshots.survivors import packed, ties_of
from mofang.data.snapshots.targets import PLACED, TEXTS, Cell, read_columns_of, reading, target_of
from mofang.data.snapshots.targets import REASONS as UNUSABLE
from mofang.data.snapshots.times import seconds_of

SNAPSHOT_FORMAT = 1
REASONS = ("", "label-missing", "class-too-small", "class-not-in-train", "time-missing", *UNUSABLE)
Share = Annotated[float, Field(gt=0, lt=1)]


@holds_personal_data
class Snapshot(Artifact):
    """Records ready for training:

    ``train``, ``validation`` and ``test`` (records each), about.json, rejected.parquet.
    """

    kind = "snapshot"
    inside = {"train": "records", "validation": "records", "test": "records"}  # noqa: RUF012


@stage(version=4)
def snapshot(
    run: Run,
    records: Records,
    previous: Snapshot | None = None,
    *,
    task: Annotated[str, Field(min_length=1)],
    label: str = "",
    inputs: tuple[str, ...] = (),
    group: str = "",
    time: str = "",
    validation: Share = 0.1,
    test: Share = 0.1,
    seed: Annotated[int, Field(ge=0)] = 0,
    min_per_class: Annotated[int, Field(ge=1)] = 5,
) -> Snapshot:
    """Split labelled records into a training, a validation and a test part.

    The side of a record follows from what it says (or from its group, so that a group stays together; or from
    its time, so that the newest are tested), hence records added later leave all others where they are. What
    ``previous`` holds stays on its side there whatever else changes, its cuts in time are kept, and new records
    join the side of those they belong to: their group, equal content, near copies.
    Records without a label, classes with fewer than ``min_per_class`` records, and labels that cannot be read as the
    task wants them (one, several, a number, spans, an answer, a text: docs/snapshot.md), are kept in rejected.parquet
    with the reason.
    """
    reader, target = RecordReader(records), target_of(task)
    label = label or _only_label(reader)
    for name in (label, group, time):
        _require(reader, name)
    names = _suited(reader, task, _inputs(reader, label, inputs, itself=target == "text"))
    if validation + test >= 1:
        raise MofangError("split-too-large", validation=validation, test=test)
    shares, earlier = Shares(validation, test, seed), Earlier(previous)
    columns = _Columns(label, names, group, time, target, TEXTS.get(task, 0) == 2)
    sorted_out = _sort_out(reader, columns, shares, earlier, ties_of(records), run.scratch)
    reasons = _reasons(sorted_out, min_per_class, target)
    counts = _counts(sorted_out, reasons)
    _require_usable(columns, sorted_out, counts, reasons, min_per_class)
    _write(run, reader, sorted_out, reasons, columns)
    about = {
        "format": SNAPSHOT_FORMAT,
        "task": task,
        "label": label,
        **({"target": target} if target != "class" else {}),
        "labels": sorted(counts["train"]["classes"]),
        "inputs": [{"name": name, "role": reader.roles[name]} for name in names],
        "counts": counts,
        "operators": _touching(names, reader.about.get("operators", [])),
        "licences": list(run.input_licences),
        "sources": sources_of(reader.about, reader.roles),
        "split": columns.split(shares, sorted_out.cuts),
    }
    run.write_json("about.json", about)
    rejected = np.bincount(reasons, minlength=len(REASONS))
    run.measure(
        counts={part: found["rows"] for part, found in counts.items()},
        classes=len(counts["train"]["classes"]),
        rejected={reason: int(rejected[code]) for code, reason in enumerate(REASONS) if code and rejected[code]},
    )
    return run.result(Snapshot)


@dataclass
class _Sorted:
    """For each row its side and the number of the labels that it names, or why it has none (minus a place in REASONS)."""

    sides: Sides
    classes: npt.NDArray[np.int32]
    names: list[tuple[str, ...]]
    cuts: list[Cut]
    groups: int = 0


@dataclass(frozen=True)
class _Columns:
    """The columns that decide on the split."""

    label: str
    inputs: list[str]
    group: str
    time: str
    target: str
    both: bool = False  # whether a row needs both of its texts, as every request does

    def cells(self, batch: Batch) -> list[Cell]:
        """The label column of a batch, read as the task's target."""
        read = reading(self.target, self.inputs, self.both)
        beside = {name: batch.column(name) for name in read_columns_of(self.target, self.inputs, self.both)}
        return [
            read(value, {name: values[row] for name, values in beside.items()})
            for row, value in enumerate(batch.column(self.label))
        ]

    def kept(self) -> list[str]:
        """The columns that the parts hold, in order."""
        return list(dict.fromkeys([*self.inputs, self.label, *filter(None, (self.group, self.time))]))

    def split(self, shares: Shares, cuts: Sequence[Cut]) -> dict[str, Any]:
        """How the records were split, as about.json says it."""
        by = "time" if self.time else "group" if self.group else "content"
        return {"by": by, **asdict(shares), **({"cuts": written(cuts)} if self.time else {})}


def _only_label(reader: RecordReader) -> str:
    found = with_role(reader.roles, "label")
    if len(found) != 1:
        raise MofangError("label-not-named", columns=", ".join(reader.roles))
    return found[0]


def _require(reader: RecordReader, name: str) -> None:
    if name and name not in reader.roles:
        raise MofangError(
            "column-missing",
            column=name,
            columns=", ".join(reader.roles),
            nearest=nearest(name, reader.roles),
            file="values.parquet",
        )


def _inputs(reader: RecordReader, label: str, inputs: Sequence[str], itself: bool = False) -> list[str]:
    """The input columns; ``itself`` allows the label's own, for conversations that hold their answers."""
    for name in inputs:
        _require(reader, name)
    found = list(inputs) or [name for name in with_role(reader.roles, INPUT_ROLES) if name != label]
    usable = (*INPUT_ROLES, "time")  # a date is an input where it is named: `features` takes it apart
    wrong = [name for name in found if (name == label and not itself) or reader.roles[name] not in usable]
    if wrong or not found:
        raise MofangError("input-not-usable", columns=", ".join(wrong) or "-", roles=", ".join(INPUT_ROLES))
    return found


def _suited(reader: RecordReader, task: str, inputs: list[str]) -> list[str]:
    """The inputs: as many texts as the task reads, none of which was changed where labels say places in them."""
    texts = TEXTS.get(task)
    if texts and (len(inputs) != texts or any(reader.roles[name] != "text" for name in inputs)):
        shown = ", ".join(f"{name} ({reader.roles[name]})" for name in inputs)
        raise MofangError("inputs-not-texts", task=task, texts=texts, inputs=shown)
    changed = _touching(inputs, reader.about.get("operators", []))
    if changed and target_of(task) in PLACED:
        names = ", ".join(dict.fromkeys(str(spec["name"]) for spec in changed))
        raise MofangError("places-moved", task=task, operators=names)
    return inputs


def _touching(inputs: Sequence[str], operators: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operators that change an input: no request gives the other columns, and none needs the keys of their pseudonyms."""
    wanted = set(inputs)
    return [spec for spec in operators if wanted & {*spec["columns"], *spec.get("state", {}).get("makes", [])}]


def _sort_out(
    reader: RecordReader, columns: _Columns, shares: Shares, earlier: Earlier, ties: dict[str, str], scratch: Path
) -> _Sorted:
    """First pass: the side and the class of every row."""
    classes = np.full(reader.rows, -1, np.int32)
    before = np.zeros(reader.rows, np.int8)
    tied = np.full(reader.rows, -1, np.int64)
    by_time, group = bool(columns.time), columns.group
    moments = np.zeros(reader.rows if by_time else 0, np.float64)
    keys = np.zeros(0 if by_time else reader.rows, np.uint64)
    sides: Sides = np.zeros(reader.rows, np.int8)
    known: dict[tuple[str, ...], int] = {}
    wanted = [columns.label, *([columns.time] if by_time else [group] if group else columns.inputs)]
    wanted += read_columns_of(columns.target, columns.inputs, columns.both)
    split = SplitKeys(reader, columns.inputs, scratch / "split")
    row = 0
    for batch in reader.batches(media=not (group or by_time), columns=list(dict.fromkeys(wanted))):
        end = row + len(batch)
        ids = batch.column(ID)
        before[row:end], tied[row:end] = earlier.of(packed(ids)), tie_numbers(ids, ties)
        classes[row:end] = [
            -REASONS.index(cell.reason) if cell.reason else known.setdefault(cell.labels, len(known))
            for cell in columns.cells(batch)
        ]
        if by_time:
            moments[row:end] = [np.nan if one is None else one for one in map(seconds_of, batch.column(columns.time))]
        else:
            found = split.of_group(batch, group) if group else split.of_content(batch)
            keys[row:end] = numbers_of(found)
            sides[row:end] = [side_of(key, shares.validation, shares.test, shares.seed) for key in found]
        row = end
    cuts: list[Cut] = []
    if by_time:
        classes[np.isnan(moments) & (classes >= 0)] = -REASONS.index("time-missing")
        sides, cuts = sides_by_time(moments, classes >= 0, shares, earlier.cuts)
    groups = len(np.unique(keys)) if group and not by_time else 0
    if groups and (before == UNKNOWN).all():
        sides = with_every_part(sides, keys, classes >= 0, shares)
    return _Sorted(settle(sides, before, keys, tied), classes, list(known), cuts, groups)


def _reasons(found: _Sorted, min_per_class: int, target: str) -> npt.NDArray[np.uint8]:
    """Why each row is left out (an index into REASONS), 0 for those that stay."""
    labelled = found.classes >= 0
    reasons = np.where(labelled, 0, -found.classes).astype(np.uint8)
    size, places = len(found.names), np.maximum(found.classes, 0)
    total = np.bincount(found.classes[labelled], minlength=size)
    in_train = np.bincount(found.classes[labelled & (found.sides == TRAIN)], minlength=size)
    if size and target == "class":
        reasons[labelled & (in_train[places] == 0)] = REASONS.index("class-not-in-train")
        reasons[labelled & (total[places] < min_per_class)] = REASONS.index("class-too-small")
    elif size:
        learnt = {name for place in np.flatnonzero(in_train) for name in found.names[place]}
        strange = np.array([not learnt.issuperset(names) for names in found.names])
        reasons[labelled & strange[places]] = REASONS.index("class-not-in-train")
    return reasons


def _counts(found: _Sorted, reasons: npt.NDArray[np.uint8]) -> dict[str, dict[str, Any]]:
    """For each part its rows, and its labels with the numbers of rows that name them."""
    counts: dict[str, dict[str, Any]] = {}
    for side, part in enumerate(PARTS):
        rows = np.bincount(found.classes[(reasons == 0) & (found.sides == side)], minlength=len(found.names))
        classes: dict[str, int] = {}
        for code in np.nonzero(rows)[0]:
            for name in found.names[code]:
                classes[name] = classes.get(name, 0) + int(rows[code])
        counts[part] = {"rows": int(rows.sum()), "classes": classes}
    return counts


def _require_usable(
    columns: _Columns,
    found: _Sorted,
    counts: dict[str, dict[str, Any]],
    reasons: npt.NDArray[np.uint8],
    min_per_class: int,
) -> None:
    label, empty = columns.label, [part for part in PARTS if not counts[part]["rows"]]
    in_train, classes = counts["train"]["rows"], counts["train"]["classes"]
    if not in_train and (reasons == REASONS.index("class-too-small")).any():
        raise MofangError("classes-too-small", label=label, rows=len(reasons), least=min_per_class)
    if empty and 0 < found.groups < GROUPS_LEAST:
        raise MofangError("groups-too-few", group=columns.group, groups=found.groups, least=GROUPS_LEAST)
    unusable = np.bincount(reasons, minlength=len(REASONS))
    if not in_train and (worst := int(unusable[REASONS.index(UNUSABLE[0]):].max())):
        reason = UNUSABLE[int(unusable[REASONS.index(UNUSABLE[0]):].argmax())]
        raise MofangError("labels-unusable", label=label, rows=worst, reason=reason, target=columns.target)
    if not in_train:
        raise MofangError("no-labelled-records", label=label, rows=len(reasons))
    if columns.target == "class" and len(classes) < 2:
        raise MofangError("one-class", label=label, name=next(iter(classes)))
    if columns.target in ("classes", "spans") and not classes:
        raise MofangError("no-labels-named", label=label, rows=in_train)
    if empty:
        raise MofangError("part-empty", part=empty[0], rows=sum(one["rows"] for one in counts.values()))


def _write(
    run: Run,
    reader: RecordReader,
    found: _Sorted,
    reasons: npt.NDArray[np.uint8],
    split: _Columns,
) -> None:
    """Second pass: each row into its part, or into rejected.parquet."""
    columns, label = split.kept(), split.label
    fields = [field(name, "label" if name == label else reader.roles[name]) for name in columns]
    schema = pa.schema([field(ID, "id"), *fields])
    rejected_schema = pa.schema([schema.field(0), pa.field("reason", pa.string()), *list(schema)[1:]])
    about = {name: value for name, value in reader.about.items() if name not in ("format", "columns", "rows")}
    first = 0
    with ExitStack() as stack, run.progress("Splitting", "正在划分", reader.rows) as bar:
        path = stack.enter_context(run.part("rejected.parquet"))
        rejected = stack.enter_context(pq.ParquetWriter(path, rejected_schema, compression="zstd"))
        writers = [
            stack.enter_context(RecordWriter(run, f"{part}/", schema=schema, about=about)) for part in PARTS
        ]
        for batch in reader.batches(columns=columns):
            end = first + len(batch)
            arrays = [batch.table.column(ID), *(batch.table.column(name) for name in columns)]
            arrays[1 + columns.index(label)] = pa.array([cell.written for cell in split.cells(batch)], pa.string())
            whole = Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), batch.media)
            gone = reasons[first:end] > 0
            for side, writer in enumerate(writers):
                places = np.nonzero(~gone & (found.sides[first:end] == side))[0]
                if len(places):
                    writer.write(whole.take(places))
            if gone.any():
                left = whole.take(np.nonzero(gone)[0]).table.columns
                names = pa.array([REASONS[code] for code in reasons[first:end][gone]])
                rejected.write_batch(
                    pa.RecordBatch.from_arrays([left[0], names, *left[1:]], schema=rejected_schema)
                )
            first = end
            bar.advance(len(batch))
