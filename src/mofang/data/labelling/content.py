"""What a task shows: the values and media of its record, read where they lie, and what was proposed for it.

A few row groups stay in memory, so that the tasks of a queue that goes by number cost no reading.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.data.labelling.index import Index
from mofang.data.labelling.projects import Batch, Project, batches
from mofang.data.roles import ID, MEDIA_ROLES, roles_of, with_role

if TYPE_CHECKING:
    from mofang.core.shop import Shop

CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Content:
    """One record as a task: its id, its values, the columns with media, and the roles of all columns."""

    task: int
    record: str
    values: dict[str, Any]
    media: tuple[str, ...]
    roles: dict[str, str]

    def text(self, column: str) -> str | None:
        """The text that the question is about."""
        names = [column] if column else with_role(self.roles, "text")
        found = self.values.get(names[0]) if names else None
        return found if isinstance(found, str) else None


class _Groups:
    """Row groups of Parquet parts, the last used ones kept up to a number of bytes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[Any, Any] = OrderedDict()
        self.bytes = 0

    def get(self, key: Any, read: Any) -> Any:
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        value = read()
        with self.lock:
            if key not in self.kept:
                self.kept[key] = value
                self.bytes += _size(value)
            while self.bytes > CACHE_BYTES and len(self.kept) > 1:
                self.bytes -= _size(self.kept.popitem(last=False)[1])
        return value


def _size(value: Any) -> int:
    return int(getattr(value, "nbytes", 4096))


_groups = _Groups()


def forget_groups() -> None:
    """Let go of all content that this process holds in memory."""
    with _groups.lock:
        _groups.kept.clear()
        _groups.bytes = 0


def _bounds(artifact: Artifact, part: str) -> tuple[np.ndarray[Any, Any], pa.Schema]:
    """The first row of each row group and one past the last, and the schema."""
    def read() -> Any:
        with artifact.open(part) as opened, pq.ParquetFile(opened) as file:
            counts = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
            return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), file.schema_arrow

    found: tuple[np.ndarray[Any, Any], pa.Schema] = _groups.get((str(artifact.shop.path), artifact.part(part).digest), read)
    return found


def row_of(artifact: Artifact, part: str, row: int) -> dict[str, Any]:
    """One row of a Parquet part."""
    bounds, _ = _bounds(artifact, part)
    group = int(np.searchsorted(bounds, row, side="right")) - 1

    def read() -> pa.Table:
        with artifact.open(part) as opened, pq.ParquetFile(opened) as file:
            return file.read_row_group(group)

    table = _groups.get((str(artifact.shop.path), artifact.part(part).digest, group), read)
    found: dict[str, Any] = table.slice(row - int(bounds[group]), 1).to_pylist()[0]
    return found


def records_of(shop: Shop, batch: Batch) -> Artifact:
    """The records that a batch of tasks shows."""
    found: Artifact = shop.artifact(shop.ledger.get(batch.records))
    for name in filter(None, batch.inside.split("/")):
        found = found / name
    return found


def _row(records: Artifact, place: dict[str, Any], task: int) -> int:
    """Where a task's record stands now: where it stood, unless an erasure took rows out of the records."""
    row = int(place["row"])
    if row < _bounds(records, "values.parquet")[0][-1] and row_of(records, "values.parquet", row)[ID] == place[ID]:
        return row
    row = int(Index.over(records, "values.parquet").rows(Index.keys([place[ID]]))[0])
    if row < 0:
        raise MofangError("label-record-gone", task=task)
    return row


class Contents:
    """The tasks of one project, read through its batches."""

    def __init__(self, shop: Shop, project: Project) -> None:
        self.shop, self.project = shop, project
        found = batches(shop.control, project.id)
        self.batches = [one for one in found if one.kind == "tasks"]
        self.proposals = [one for one in found if one.kind == "proposed"]
        self.brought = [one for one in found if one.kind == "answered"]
        self._artifacts: dict[str, Artifact] = {}

    def artifact(self, entry: str) -> Artifact:
        """An artifact by entry, found once."""
        if entry not in self._artifacts:
            self._artifacts[entry] = self.shop.artifact(self.shop.ledger.get(entry))
        return self._artifacts[entry]

    def _records(self, batch: Batch) -> Artifact:
        key = f"{batch.records}/{batch.inside}"
        if key not in self._artifacts:
            self._artifacts[key] = records_of(self.shop, batch)
        return self._artifacts[key]

    def batch(self, task: int) -> Batch:
        """The batch that a task came with."""
        self.project.require_task(task)
        return next(one for one in self.batches if one.first <= task < one.first + one.rows)

    def record(self, task: int) -> str:
        """The id of a task's record."""
        return str(self._place(task)[ID])

    def _place(self, task: int) -> dict[str, Any]:
        batch = self.batch(task)
        return row_of(self.artifact(batch.entry), "tasks.parquet", task - batch.first)

    def get(self, task: int) -> Content:
        """What a task shows; ``label-record-gone`` where its record was erased."""
        batch, place = self.batch(task), self._place(task)
        records = self._records(batch)
        schema = _bounds(records, "values.parquet")[1]
        found = row_of(records, "values.parquet", _row(records, place, task))
        roles = roles_of(schema)
        media = tuple(with_role(roles, MEDIA_ROLES))
        values = {name: value for name, value in found.items() if name != ID and name not in media}
        return Content(task, place[ID], values, media, roles)

    def media(self, task: int, column: str = "") -> bytes:
        """The bytes of a task's picture or sound."""
        batch, place = self.batch(task), self._place(task)
        records = self._records(batch)
        roles = roles_of(_bounds(records, "values.parquet")[1])
        names = with_role(roles, MEDIA_ROLES)
        if not names or (column and column not in names):
            raise MofangError("label-media-none", task=task)
        wanted = names.index(column) if column else 0
        found = row_of(records, "media.parquet", _row(records, place, task) * len(names) + wanted)
        return bytes(found["bytes"])

    def numbers(self, ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """The task of each record id; -1 where the project has none."""
        keys = Index.keys(ids)
        found = np.full(len(keys), -1, np.int64)
        for batch in self.batches:
            rows = Index.of(self.artifact(batch.entry)).rows(keys)
            found = np.where((found < 0) & (rows >= 0), rows + batch.first, found)
        return found

    def proposal(self, record: str) -> dict[str, Any] | None:
        """What a model proposed for a record last: answer, score, model."""
        for batch in reversed(self.proposals):
            found = self._looked_up(batch, "proposals.parquet", record)
            if found:
                return {"answer": json.loads(found[-1]["answer"]), "score": found[-1]["score"], "model": found[-1]["model"],
                        "scores": json.loads(found[-1]["scores"]) if found[-1]["scores"] else {}}
        return None

    def brought_answers(self, record: str) -> list[dict[str, Any]]:
        """Answers that were brought in for a record: person, answer, at_us; of one person the last."""
        latest: dict[str, dict[str, Any]] = {}
        for batch in self.brought:
            for row in self._looked_up(batch, "answers.parquet", record):
                latest[row["person"]] = {"person": row["person"], "answer": json.loads(row["answer"]), "at_us": row["at_us"]}
        return [latest[name] for name in sorted(latest)]

    def _looked_up(self, batch: Batch, part: str, record: str) -> list[dict[str, Any]]:
        artifact = self.artifact(batch.entry)
        index = Index.of(artifact, part.replace(".parquet", ".index"))
        if len(index.at) != _bounds(artifact, part)[0][-1]:
            index = Index.over(artifact, part)
        places = index.all_rows(int(Index.keys([record])[0]))
        found = [row_of(artifact, part, place) for place in places]
        return [one for one in found if one[ID] == record]
