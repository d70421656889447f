"""A file of another tool becomes records, checked answers and proposals, batch by batch."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.tombstones import Tombstones
from mofang.data.labelling.exchange.items import Item, Misfit
from mofang.data.labelling.exchange.yolo import in_pixels
from mofang.data.labelling.index import Index, index_of
from mofang.data.labelling.schema import PICTURE, Schema
from mofang.data.occurrences import Occurrences
from mofang.data.records import RecordReader, RecordWriter
from mofang.data.rejected import RejectedFile
from mofang.data.roles import ID, with_role
from mofang.data.sources.files import source_files

READERS = {"jsonl": "jsonl", "label-studio": "labelstudio", "coco": "coco", "conll": "conll", "yolo": "yolo"}
ANSWERS = pa.schema(
    [(ID, pa.string()), ("person", pa.string()), ("answer", pa.string()), ("at_us", pa.int64()), ("ms", pa.int64())]
)
PROPOSALS = pa.schema(
    [(ID, pa.string()), ("answer", pa.string()), ("score", pa.float64()), ("model", pa.string()), ("scores", pa.string())]
)
BATCH = 4096
GROUP_ROWS = 2048  # small, so that one answer is found without reading many
SAMPLE = 1000
REMEMBERED = 100_000
KINDS = {"coco": PICTURE, "yolo": PICTURE, "conll": ("spans",)}


def bring(
    run: Run, known: Sequence[Artifact], schema: Schema, *, source: str, format: str, person: str, bad_share: float
) -> None:
    """Read a file into the run's parts."""
    if schema.kind not in KINDS.get(format, (schema.kind,)):
        raise MofangError("label-format-kind", format=format, kind=schema.kind)
    reader = importlib.import_module(f"mofang.data.labelling.exchange.{READERS[format]}")
    with ExitStack() as parts:
        rejected = parts.enter_context(RejectedFile(parts.enter_context(run.part("rejected.parquet"))))
        items: Iterator[Item] = reader.read(source_files(source, run.shop), schema, rejected.add)
        head = list(islice(items, SAMPLE))
        bar = parts.enter_context(run.progress("Bringing in", "正在导入"))
        writer = _Writer(run, parts, known, schema, person, rejected, head)
        pending = head
        while pending:
            for first in range(0, len(pending), BATCH):
                writer.write(pending[first : first + BATCH])
            bar.advance(len(pending))
            pending = list(islice(items, BATCH))
        writer.finish()
    rejected.require_share(writer.items, bad_share)
    if not writer.items:
        raise MofangError("label-file-empty", source=source)
    run.write_bytes("answers.index", index_of(writer.answers.keys).data())
    run.write_bytes("proposals.index", index_of(writer.proposals.keys).data())
    counts = {
        "items": writer.items,
        "records": writer.records,
        "answers": writer.answers.rows,
        "proposals": writer.proposals.rows,
        "rejected": rejected.total,
    }
    run.write_json(
        "about.json",
        {
            "schema": schema.to_dict(),
            "format": format,
            **counts,
            "columns": writer.roles,
            "columns_left_out": sorted(writer.left_out),
        },
    )
    run.measure(**counts, **({"reasons": dict(rejected.counts)} if rejected.total else {}))


class _Rows:
    """A part of rows with an id, and the keys of the ids."""

    def __init__(self, run: Run, parts: ExitStack, name: str, schema: pa.Schema) -> None:
        self.schema, self.rows = schema, 0
        self.keys: list[Any] = []
        self._waiting: dict[str, list[Any]] = {one.name: [] for one in schema}
        self._writer = parts.enter_context(pq.ParquetWriter(parts.enter_context(run.part(name)), schema, compression="zstd"))

    def add(self, *values: Any) -> None:
        for name, value in zip(self._waiting, values, strict=True):
            self._waiting[name].append(value)
        if len(self._waiting[ID]) >= GROUP_ROWS * 16:
            self.flush()

    def flush(self) -> None:
        count = len(self._waiting[ID])
        if count:
            self._writer.write_table(pa.table(self._waiting, schema=self.schema), row_group_size=GROUP_ROWS)
            self.keys.append(Index.keys(self._waiting[ID]))
            self.rows += count
        self._waiting = {name: [] for name in self._waiting}


class _Writer:
    """Items into records, answers and proposals."""

    def __init__(
        self,
        run: Run,
        parts: ExitStack,
        known: Sequence[Artifact],
        schema: Schema,
        person: str,
        rejected: RejectedFile,
        head: Sequence[Item],
    ) -> None:
        self.run, self.schema, self.person, self.rejected = run, schema, person, rejected
        self.erased = Tombstones(run.shop)
        self.pictures = _Pictures(known) if schema.kind in PICTURE else None
        self.roles: dict[str, str] = {} if self.pictures else _roles(known, schema, head)
        self.left_out: set[str] = set()
        self.answers = _Rows(run, parts, "answers.parquet", ANSWERS)
        self.proposals = _Rows(run, parts, "proposals.parquet", PROPOSALS)
        self.items = self.records = 0
        self._secret = run.secret("records")
        self._names = sorted(self.roles)
        self._seen = Occurrences(run.scratch / "brought")
        self._spelled: dict[bytes, str] = {}
        about = {"licence": "", "origin": "labelling import", "consent": ""}
        self._out = parts.enter_context(RecordWriter(run, "records/", roles=self.roles, about=about)) if self.roles else None

    def write(self, items: Sequence[Item]) -> None:
        """One batch: what fits is written, what does not is rejected with its place."""
        good: list[tuple[Item, str]] = []
        for item in items:
            try:
                record = self._record(item)
                said = [(one, self._text(one.answer, item)) for one in item.answers]
                proposed = [(one, self._text(one.answer, item)) for one in item.proposals]
            except Misfit as error:
                self.rejected.add("", item.place, "not-a-task", str(error), item.file)
                continue
            except MofangError as error:
                self.rejected.add("", item.place, error.code, error.what, item.file)
                continue
            for one, text in said:
                self.answers.add(
                    record, _name(one.person) or self.person, text, max(0, one.at_us), min(max(0, one.ms), 86_400_000)
                )
            for made, text in proposed:
                self.proposals.add(record, text, made.score, made.model[:200], scores_text(made.scores))
            self.items += 1
            good.append((item, record))
        if self._out is not None and good:
            self._write_records(good)

    def _write_records(self, good: list[tuple[Item, str]]) -> None:
        assert self._out is not None
        earlier = self._seen.count(Index.keys([record for _, record in good]))
        new = [one for one, before in zip(good, earlier, strict=True) if not before and one[0].values]
        if new:
            columns: dict[str, list[Any]] = {ID: [record for _, record in new]}
            for name in self.roles:
                columns[name] = [
                    _number(item.values.get(name)) if self.roles[name] == "number" else item.values.get(name) for item, _ in new
                ]
            self._out.write(columns)
            self.records += len(new)

    def _record(self, item: Item) -> str:
        """The id of an item's record: given, found by its picture, or made of its values."""
        record = item.record
        if self.pictures is not None:
            record, size = self.pictures.find(record, item.file)
            item.size = size or item.size
            for said in item.answers:
                if isinstance(said.answer, dict) and "shares" in said.answer:
                    if item.size is None:
                        raise Misfit("the picture cannot be read")
                    said.answer = in_pixels(said.answer["shares"], self.schema.kind, item.size)
        elif not record:
            if not item.values:
                raise Misfit("nothing to show")
            self.left_out.update(name for name in item.values if name not in self.roles)
            values = [
                _number(item.values.get(name)) if self.roles[name] == "number" else item.values.get(name) for name in self._names
            ]
            try:
                data = orjson.dumps(values)
            except orjson.JSONEncodeError as error:
                raise Misfit(str(error)) from None
            record = hashlib.blake2b(data, key=self._secret, digest_size=16, person=b"mofang record").hexdigest()
        if self.erased:
            people = [item.values.get(name) or "" for name in with_role(self.roles, "person")]
            if self.erased.record(record) or any(map(self.erased.person, people)):
                raise MofangError("label-erased")
        return record

    def _text(self, answer: Any, item: Item) -> str:
        """A checked answer in its one spelling; equal answers to plain questions are checked once."""
        plain = self.schema.kind in ("classes", "several", "ratings", "pairs")
        try:
            key = orjson.dumps(answer, option=orjson.OPT_SORT_KEYS) if plain else b""
        except TypeError as error:
            raise Misfit(str(error)) from None
        if plain and key in self._spelled:
            return self._spelled[key]
        chars = None
        if self.schema.kind == "spans":
            column = self.schema.column or next(iter(with_role(self.roles, "text")), "")
            chars = len(item.values[column]) if column in item.values else None
        checked = self.schema.checked(answer, chars=chars, size=item.size)
        text = orjson.dumps(checked, option=orjson.OPT_SORT_KEYS).decode()
        if plain and len(self._spelled) < REMEMBERED:
            self._spelled[key] = text
        return text

    def finish(self) -> None:
        """Write what waits."""
        self.answers.flush()
        self.proposals.flush()


def scores_text(scores: Mapping[str, float]) -> str:
    """Probabilities as they stand in a column; empty where there are none."""
    return orjson.dumps(scores, option=orjson.OPT_SORT_KEYS).decode() if scores else ""


def _name(person: str) -> str:
    return "".join(one for one in person.strip() if one.isprintable())[:100]


def _number(value: str | None) -> float | None:
    try:
        return None if value in (None, "") else float(str(value))
    except ValueError:
        raise Misfit(f"not a number: {str(value)[:40]}") from None


def _roles(known: Sequence[Artifact], schema: Schema, head: Sequence[Item]) -> dict[str, str]:
    """The columns of the records: those of the project if the file has them, else what the first items hold."""
    names = list(dict.fromkeys(name for item in head for name in item.values))
    for one in known:
        before = {name: role for name, role in RecordReader(one).roles.items() if role not in ("label", "image", "audio")}
        if set(before) <= set(names):
            return before
    if not names:
        return {}
    main = schema.column if schema.column in names else "text" if "text" in names else names[0]
    second = {schema.second: "text"} if schema.second in names else {}
    return {**dict.fromkeys(names, "other"), main: "text", **second}


class _Pictures:
    """The pictures of records by file name, and their sizes where somebody asks."""

    def __init__(self, known: Sequence[Artifact]) -> None:
        if not known:
            raise MofangError("label-records-missing")
        self.by_name: dict[str, str] = {}
        self.by_id: dict[str, tuple[RecordReader, str]] = {}
        self.sizes: dict[str, tuple[int, int] | None] = {}
        for one in known:
            reader = RecordReader(one)
            for column in with_role(reader.roles, "image"):
                for batch in reader.batches(BATCH):
                    self._note(batch.column(ID), batch.column(column), batch.media[column])

    def _note(self, ids: Sequence[str], names: Sequence[str | None], media: Sequence[bytes]) -> None:
        from mofang.data.labelling.queue import picture_size

        for id, name, data in zip(ids, names, media, strict=True):
            self.sizes[id] = picture_size(data)
            for spelled in spellings(name or ""):
                self.by_name.setdefault(spelled, id)

    def find(self, record: str, file: str) -> tuple[str, tuple[int, int] | None]:
        """The id and size of a picture."""
        if record in self.sizes:
            return record, self.sizes[record]
        for spelled in spellings(file):
            if spelled in self.by_name:
                id = self.by_name[spelled]
                return id, self.sizes[id]
        raise Misfit(f"no record has the picture {file[:100]}")


def spellings(name: str) -> list[str]:
    """A picture's name as tools write it: with folders, without, and without the ending."""
    from mofang.data.labelling.exchange.yolo import stem

    plain = name.replace("\\", "/").lstrip("/")
    base = plain.rsplit("/", 1)[-1]
    stems = [
        stem(Item(file=one)) for one in (f"{plain}.x" if "." not in base else plain, f"{base}.x" if "." not in base else base)
    ]
    return list(dict.fromkeys(one for one in (plain, base, *stems) if one))


def task_bits(numbers: Any, people: Mapping[str, Any]) -> Any:
    """Which blocks of tasks each person answered: name to first block and bits, cut for the rows of a journal."""
    from mofang.data.labelling.bits import BLOCK, packed

    found: dict[int, dict[str, list[Any]]] = {}
    for name, mine in people.items():
        tasks = np.unique(numbers[mine])
        tasks = tasks[tasks >= 0]
        for stretch in np.unique(tasks // (64 * BLOCK)).tolist():
            here = tasks[tasks // (64 * BLOCK) == stretch]
            first, last = int(here[0]) // BLOCK, int(here[-1]) // BLOCK
            bits = np.zeros((last - first + 1) * BLOCK, np.bool_)
            bits[here - first * BLOCK] = True
            found.setdefault(stretch, {})[name] = [first, packed(bits)]
    return [found[one] for one in sorted(found)]
