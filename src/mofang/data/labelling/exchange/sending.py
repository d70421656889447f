"""A project's tasks with everything that was said about them, into a file of another tool; read and written in pieces."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.data.exporting.left import note_left
from mofang.data.labelling.consensus import mark_answer
from mofang.data.labelling.content import Contents, records_of
from mofang.data.labelling.exchange.bringing import KINDS, READERS
from mofang.data.labelling.exchange.items import Item, Proposed, Said
from mofang.data.labelling.projects import Project, batches
from mofang.data.labelling.schema import PICTURE
from mofang.data.records import Batch, RecordReader
from mofang.data.roles import ID, MEDIA_ROLES, with_role

if TYPE_CHECKING:
    from mofang.core.shop import Shop

FORMATS = (*READERS, "csv", "tasks")
MARKED = ("spans", "boxes", "polygons")


def current_answers(shop: Shop, project: Project) -> Artifact:
    """Seal what the journal gained and gather everybody's current answers."""
    from mofang.data.label import gather

    shop.seal("labels")
    parts = {kind: tuple(shop.artifact(shop.ledger.get(one.entry)) for one in batches(shop.control, project.id, kind))
             for kind in ("tasks", "answered")}
    found: Artifact = shop.run(gather, tuple(shop.seals("labels")), parts["tasks"], parts["answered"], project=project.id)
    return found


def send(shop: Shop, project: Project, out: Path, format: str) -> int:
    """Write a project's tasks into a file (YOLO: a folder); how many. It appears whole, or not at all."""
    if format not in FORMATS:
        raise MofangError("label-format-unknown", format=format, formats=", ".join(FORMATS))
    if project.schema.kind not in KINDS.get(format, (project.schema.kind,)):
        raise MofangError("label-format-kind", format=format, kind=project.schema.kind)
    writer = importlib.import_module(f"mofang.data.labelling.exchange.{READERS.get(format, format)}")
    answers = current_answers(shop, project)
    items = Items(shop, project, answers)
    if format == "yolo":
        count = int(writer.write(out, iter(items), project.schema))
        note_left(shop, [answers], out)
        return count
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        count = int(writer.write(beside, iter(items), project.schema))
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)
    note_left(shop, [answers], out)
    return count


class Items:
    """Every task of a project in order, with its record, its answers and what was decided."""

    def __init__(self, shop: Shop, project: Project, answers: Artifact) -> None:
        self.shop, self.project = shop, project
        self.contents = Contents(shop, project)
        self._said = _ByTask(answers)
        with answers.open("decisions.parquet") as opened:
            table = pq.read_table(opened, columns=[ID, "answer"], use_threads=False, pre_buffer=False)
        self._decided = dict(zip(table.column(ID).to_pylist(), table.column("answer").to_pylist(), strict=True))

    def __iter__(self) -> Iterator[Item]:
        pictures = self.project.schema.kind in PICTURE
        for one in self.contents.batches:
            reader = RecordReader(records_of(self.shop, one))
            for batch in reader.batches(1024, media=pictures):
                numbers = self.contents.numbers(batch.column(ID))
                for place, task in enumerate(numbers.tolist()):
                    if one.first <= task < one.first + one.rows:
                        yield self._item(reader, batch, place, task)

    def _item(self, reader: RecordReader, batch: Batch, place: int, task: int) -> Item:
        row = {name: batch.table.column(name)[place].as_py() for name in batch.table.schema.names}
        media = with_role(reader.roles, MEDIA_ROLES)
        values = {name: str(value) for name, value in row.items() if name not in (ID, *media) and value is not None}
        item = Item(values, row[ID], str(row.get(media[0]) or "") if media else "", task=task)
        if batch.media and media:
            from mofang.data.labelling.queue import picture_size

            item.size = picture_size(batch.media[media[0]][place])
        item.answers = self._said.of(task)
        found = self.contents.proposal(item.record) if self.contents.proposals else None
        if found:
            item.proposals = [Proposed(found["answer"], found["score"], found["model"], found["scores"])]
        if item.record in self._decided:
            item.final = json.loads(self._decided[item.record])
        elif item.answers and self.project.schema.kind in MARKED:
            item.final = mark_answer(self.project.schema.kind, [one.answer for one in item.answers])
        return item


class _ByTask:
    """Answers sorted by task, handed out task by task as the tasks go by."""

    def __init__(self, answers: Artifact) -> None:
        self._rows = self._read(answers)
        self._next: dict[str, Any] | None = next(self._rows, None)

    @staticmethod
    def _read(answers: Artifact) -> Iterator[dict[str, Any]]:
        with answers.open("answers.parquet") as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(4096):
                yield from batch.to_pylist()

    def of(self, task: int) -> list[Said]:
        found = []
        while self._next is not None and self._next["task"] <= task:
            one = self._next
            if one["task"] == task:
                found.append(Said(json.loads(one["answer"]), one["person"], one["at_us"], one["ms"]))
            self._next = next(self._rows, None)
        return found
