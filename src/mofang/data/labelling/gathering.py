"""Current answers out of sealed stretches of the journal and out of what was brought in from files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.data.labelling.index import Index
from mofang.data.labelling.schema import Schema
from mofang.data.labelling.sealing import open_words
from mofang.data.roles import ID

if TYPE_CHECKING:
    from mofang.core.shop import Shop

ANSWERS = pa.schema([("task", pa.int64()), (ID, pa.string()), ("person", pa.string()), ("answer", pa.string()),
                     ("at_us", pa.int64()), ("ms", pa.int64()), ("guidelines", pa.int64()), ("source", pa.string())])
DECISIONS = pa.schema([("task", pa.int64()), (ID, pa.string()), ("person", pa.string()), ("answer", pa.string()),
                       ("at_us", pa.int64())])
TEXT = {pa.string(): "", pa.int64(): 0}


@dataclass
class Told:
    """What the journal's rows of one project say."""

    settings: dict[str, Any] = field(default_factory=dict)
    batches: list[tuple[int, int]] = field(default_factory=list)
    brought: list[int] = field(default_factory=list)
    gold: dict[int, str] = field(default_factory=dict)
    answers: dict[tuple[int, str], tuple[Any, ...]] = field(default_factory=dict)
    decisions: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    erased: int = 0


@dataclass(frozen=True)
class Collected:
    """Answers and decisions by task, and what is asked."""

    answers: pa.Table
    decisions: pa.Table
    about: dict[str, Any]
    erased: int


def _rows(stretches: Sequence[Artifact], project: str) -> Any:
    """The rows of one project in the order in which they were written."""
    for one in stretches:
        with one.open("rows.parquet") as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(4096, columns=["account", "at_us", "kind", "body"]):
                mine = batch.filter(pc.equal(batch.column("account"), project))
                yield from zip(mine.column("at_us").to_pylist(), mine.column("kind").to_pylist(),
                               mine.column("body").to_pylist(), strict=True)


def _tell(shop: Shop, stretches: Sequence[Artifact], project: str) -> Told:
    told = Told()
    for at_us, kind, text in _rows(stretches, project):
        if kind not in ("project", "settings", "tasks", "answered", "gold", "answer", "decide", "gone"):
            continue
        body = orjson.loads(text)
        if kind in ("project", "settings"):
            told.settings |= body["settings"]
        elif kind == "tasks":
            told.batches.append((body["first"], body["rows"]))
        elif kind == "answered":
            told.brought.append(at_us)
        elif kind == "gold":
            told.gold |= {task: orjson.dumps(answer, option=orjson.OPT_SORT_KEYS).decode() for task, answer in body["tasks"]}
        elif kind == "gone":
            told.gone.update(body["tasks"])
        else:
            _take(shop, told, kind, at_us, body)
    _withdraw(told)
    if not told.settings:
        raise MofangError("label-not-sealed", project=project)
    return told


def _withdraw(told: Told) -> None:
    """What was said of an erased record is gathered no more, though choices stay in the journal."""
    for key in [one for one in told.answers if one[0] in told.gone]:
        del told.answers[key]
        told.erased += 1
    for task in told.gone:
        told.gold.pop(task, None)
        told.decisions.pop(task, None)


def _take(shop: Shop, told: Told, kind: str, at_us: int, body: dict[str, Any]) -> None:
    """One answer or decision, with its words if they are not erased."""
    said = open_words(shop, body["answer"])
    key = (body["task"], body["by"])
    if said.get("erased"):
        told.erased += 1
        told.answers.pop(key, None) if kind == "answer" else told.decisions.pop(body["task"], None)
        return
    text = orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
    if kind == "answer":
        told.answers[key] = (text, at_us, body["ms"], body["guidelines"])
    elif kind == "decide":
        told.decisions[body["task"]] = (body["by"], text, at_us)


def collect_answers(shop: Shop, stretches: Sequence[Artifact], tasks: Sequence[Artifact], brought: Sequence[Artifact],
                    project: str) -> Collected:
    """Everybody's last answer to every task; ``tasks`` and ``brought`` in the order in which the project took them."""
    told = _tell(shop, stretches, project)
    if len(tasks) != len(told.batches) or len(brought) != len(told.brought):
        raise MofangError("label-parts-missing", tasks=len(told.batches), brought=len(told.brought))
    tables = [_brought(one, at_us, tasks, told.batches) for one, at_us in zip(brought, told.brought, strict=True)]
    live = [(task, "", person, *rest, "queue") for (task, person), rest in told.answers.items()]
    tables.append(_table(ANSWERS, live))
    answers = _last(pa.concat_tables(tables))
    decided = _table(DECISIONS, [(task, "", *rest) for task, rest in sorted(told.decisions.items())])
    ids = _Ids(tasks, told.batches)
    about = {"project": project, "schema": told.settings["schema"], "overlap": told.settings["overlap"],
             "people": sorted(set(answers.column("person").unique().to_pylist())),
             "gold": {str(task): answer for task, answer in sorted(told.gold.items())}}
    return Collected(ids.fill(answers), ids.fill(decided), about, told.erased)


def _table(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(values, one.type) for values, one in zip(columns, schema, strict=True)], schema=schema)


def _brought(artifact: Artifact, at_us: int, tasks: Sequence[Artifact], places: list[tuple[int, int]]) -> pa.Table:
    """The answers of one file with the numbers of their tasks; those of records that are no tasks are left out."""
    with artifact.open("answers.parquet") as opened:
        table = pq.read_table(opened, use_threads=False, pre_buffer=False)
    keys = Index.keys(table.column(ID).to_pylist())
    numbers = task_numbers(keys, tasks, places)
    times = table.column("at_us").combine_chunks().to_numpy(zero_copy_only=False)
    columns = {"task": pa.array(numbers), ID: table.column(ID), "person": table.column("person"),
               "answer": table.column("answer"), "at_us": pa.array(np.where(times > 0, np.minimum(times, at_us), at_us)),
               "ms": table.column("ms"), "guidelines": pa.array(np.zeros(len(table), np.int64)),
               "source": pa.array(["import"] * len(table), pa.string())}
    return pa.table(columns, schema=ANSWERS).filter(pa.array(numbers >= 0))


def task_numbers(keys: Any, tasks: Sequence[Artifact], places: list[tuple[int, int]]) -> Any:
    """The task of each key; -1 where there is none."""
    found = np.full(len(keys), -1, np.int64)
    for one, (first, _) in zip(tasks, places, strict=True):
        rows = Index.of(one).rows(keys)
        found = np.where((found < 0) & (rows >= 0), rows + first, found)
    return found


def _last(table: pa.Table) -> pa.Table:
    """Of each person's answers to a task the last, sorted by task and person."""
    order = pa.array(np.arange(len(table)))
    table = table.append_column("order", order)
    table = table.sort_by([("task", "ascending"), ("person", "ascending"), ("at_us", "ascending"), ("order", "ascending")])
    if len(table) > 1:
        tasks = table.column("task").to_numpy()
        people = table.column("person").combine_chunks().dictionary_encode()
        codes = (people.combine_chunks() if isinstance(people, pa.ChunkedArray) else people).indices.to_numpy()
        last = np.append((tasks[1:] != tasks[:-1]) | (codes[1:] != codes[:-1]), True)
        table = table.filter(pa.array(last))
    return table.drop_columns(["order"])


class _Ids:
    """The record id of each task."""

    def __init__(self, tasks: Sequence[Artifact], places: list[tuple[int, int]]) -> None:
        self.tasks, self.places = tasks, places

    def fill(self, table: pa.Table) -> pa.Table:
        """The table with its ids; it is sorted by task."""
        numbers = table.column("task").to_numpy()
        pieces = []
        for one, (first, rows) in zip(self.tasks, self.places, strict=True):
            mine = numbers[(numbers >= first) & (numbers < first + rows)] - first
            if len(mine):
                with one.open("tasks.parquet") as opened:
                    ids = pq.read_table(opened, columns=[ID], use_threads=False, pre_buffer=False).column(ID)
                pieces.append(ids.take(pa.array(mine)).combine_chunks())
        flat = [chunk for one in pieces for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])]
        ids = pa.chunked_array(flat, pa.string())
        return table.set_column(1, pa.field(ID, pa.string()), ids)


@dataclass(frozen=True)
class Gathered:
    """Answers as arrays: the item and person of each, and its text; by item in the order of the tasks."""

    schema: Schema
    ids: list[str]
    tasks: list[int]
    people: list[str]
    items: np.ndarray[Any, Any]
    persons: np.ndarray[Any, Any]
    texts: list[str]
    ms: np.ndarray[Any, Any]
    decisions: dict[str, str]
    gold: dict[int, str]

    @classmethod
    def read(cls, artifact: Artifact) -> Self:
        """From an artifact of answers."""
        about = artifact.read_json("about.json")
        with artifact.open("answers.parquet") as opened:
            table = pq.read_table(opened, use_threads=False, pre_buffer=False)
        with artifact.open("decisions.parquet") as opened:
            decided = pq.read_table(opened, columns=[ID, "answer"], use_threads=False, pre_buffer=False)
        tasks = table.column("task").to_numpy()
        starts = np.append(True, tasks[1:] != tasks[:-1]) if len(tasks) else np.zeros(0, np.bool_)
        items = np.cumsum(starts).astype(np.int64) - 1
        places = pa.array(starts.nonzero()[0])
        people = about["people"]
        number = {name: place for place, name in enumerate(people)}
        persons = np.array([number[one] for one in table.column("person").to_pylist()], np.int64)
        return cls(Schema.of(about["schema"]), table.column(ID).take(places).to_pylist(), tasks[starts].tolist(), people, items,
                   persons, table.column("answer").to_pylist(), table.column("ms").to_numpy(),
                   dict(zip(decided.column(ID).to_pylist(), decided.column("answer").to_pylist(), strict=True)),
                   {int(task): answer for task, answer in about["gold"].items()})

    def codes(self) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """Each answer's place among the choices, for kinds with one choice; the choices."""
        choices = self.schema.choices
        place = {choice: number for number, choice in enumerate(choices)}
        key = next(iter(self.schema.example()))
        known = {text: place[json.loads(text)[key]] for text in set(self.texts)}
        return np.array([known[text] for text in self.texts], np.int64), choices
