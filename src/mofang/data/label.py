"""Label: records become tasks, answers are gathered from the sealed journal, and one answer is made of many.

What people decide and answer are actions (labelling/desk.py, labelling/queue.py) and rows of the journal ``labels``;
everything here is made from sealed stretches of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact, Sealed
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data, rewrites
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.collecting.provenance import sources_of, united
from mofang.data.labelling.consensus import Settled, settle
from mofang.data.labelling.exchange.bringing import bring
from mofang.data.labelling.exchange.proposing import bring_model_answers
from mofang.data.labelling.gathering import ANSWERS, DECISIONS, Gathered, collect_answers
from mofang.data.labelling.index import Index, index_of
from mofang.data.labelling.schema import Kind, Schema
from mofang.data.occurrences import Occurrences
from mofang.data.records import Batch, RecordReader, Records, RecordWriter
from mofang.data.roles import ID, field, roles_of
from mofang.data.sources.files import Source, source_digest

TASKS = pa.schema([(ID, pa.string()), ("row", pa.int64())])
TASK_ROWS = 65_536
REJECTED = pa.schema([(ID, pa.string()), ("reason", pa.string()), ("detail", pa.string())])
METHODS = Literal["auto", "majority", "dawid-skene", "mean", "median"]
Names = tuple[str, ...]


@holds_personal_data
class Tasks(Artifact):
    """Records queued up as tasks: tasks.parquet (id and row of each), tasks.index."""

    kind = "tasks"


@rewrites("tasks")
def blanked(artifact: Artifact, erased: Callable[[object], bool]) -> dict[str, bytes | None]:
    """Tasks after an erasure: a task's number is its place, so the id of an erased record is blanked and its row stays."""
    with artifact.open("tasks.parquet") as file:
        table = pq.read_table(file, use_threads=False, pre_buffer=False)
    ids = ["" if erased(one) else one for one in table.column(ID).to_pylist()]
    sink = pa.BufferOutputStream()
    table = table.set_column(0, TASKS.field(ID), pa.array(ids, pa.string()))
    pq.write_table(table, sink, compression="zstd", row_group_size=TASK_ROWS)
    return {"tasks.parquet": sink.getvalue().to_pybytes()}


@holds_personal_data
class Brought(Artifact):
    """What a file of another tool held:

    ``records`` where it held any, answers.parquet, proposals.parquet, rejected.parquet with reasons, about.json.
    """

    kind = "brought"
    inside = {"records": "records"}  # noqa: RUF012


@holds_personal_data
class Answers(Artifact):
    """Everybody's current answers by task (answers.parquet), decisions.parquet, about.json with the schema."""

    kind = "answers"


@stage(version=1)
def queue_up(run: Run, records: Records, earlier: tuple[Tasks, ...]) -> Tasks:
    """Number records as tasks of a labelling project, leaving out those that are in it already.

    Only ids are written; what a task shows stays in the records. The time grows with the new records, not with
    those that are there.
    """
    before = [Index.of(one) for one in earlier]
    reader = RecordReader(records)
    keys, rows, known = [], 0, 0
    own = Occurrences(run.scratch / "seen")
    with (
        run.progress("Queuing up", "正在排队", reader.rows) as bar,
        run.part("tasks.parquet") as path,
        pq.ParquetWriter(path, TASKS, compression="zstd") as writer,
    ):
        first = 0
        for batch in reader.batches(TASK_ROWS, media=False, columns=()):
            found = Index.keys(batch.column(ID))
            new = own.count(found) == 0
            for one in before:
                new &= one.rows(found) < 0
            places = new.nonzero()[0]
            ids = batch.table.column(0).take(pa.array(places))
            writer.write_batch(pa.RecordBatch.from_arrays([ids, pa.array(places + first)], schema=TASKS))
            keys.append(found[places])
            rows, known, first = rows + len(places), known + len(batch) - len(places), first + len(batch)
            bar.advance(len(batch))
    run.write_bytes("tasks.index", index_of(keys).data())
    run.measure(tasks=rows, known=known)
    return run.result(Tasks)


@stage(version=1, source_digest=source_digest)
def bring_labels(
    run: Run,
    known: tuple[Records, ...],
    *,
    source: Source,
    format: Literal["jsonl", "label-studio", "coco", "conll", "yolo"],
    kind: Kind,
    classes: Names = (),
    column: str = "",
    lowest: int = 1,
    highest: int = 5,
    licence: Annotated[str, Field(min_length=1)] = "own",
    person: str = "",
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Brought:
    """Read records, answers and proposals from a file of another labelling tool.

    Answers are checked against the schema as those of the queue are; what does not fit is counted and kept in
    rejected.parquet with its reason, and more than ``bad_share`` of it stops the run. Marks in pictures are matched to
    the pictures of ``known`` by file name. ``person`` stands for answers that do not say whose they are.
    """
    schema = Schema(kind, classes, lowest, highest, column).check()
    bring(run, known, schema, source=source, format=format, person=person or "imported", bad_share=bad_share)
    if any(part.startswith("records/") for part in run._parts):
        run.licence(licence)
    return run.result(Brought)


@stage(version=1, source_digest=source_digest)
def bring_proposals(
    run: Run,
    tasks: tuple[Tasks, ...],
    *,
    source: Source,
    kind: Kind,
    classes: Names = (),
    lowest: int = 1,
    highest: int = 5,
    model: str = "",
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Brought:
    """Read what a model answered, as proposals: JSON lines with ``label`` and ``scores``, or with ``answer``.

    Each line says which task it means by ``record``, by ``task``, or by the ``row`` of the file that
    ``mofang label export --format tasks`` wrote and ``mofang predict`` was asked with.
    """
    schema = Schema(kind, classes, lowest, highest).check()
    bring_model_answers(run, tasks, schema, source=source, model=model, bad_share=bad_share)
    return run.result(Brought)


@stage(version=2)
def gather(run: Run, stretches: tuple[Sealed, ...], tasks: tuple[Tasks, ...], brought: tuple[Brought, ...], *,
           project: Annotated[str, Field(min_length=1)]) -> Answers:
    """Everybody's current answers to every task of a project, from the sealed journal and from what was brought in.

    Of one person's answers to one task the last counts; the earlier ones stay in the journal. Words that were erased
    are left out and counted.
    """
    found = collect_answers(run.shop, stretches, tasks, brought, project)
    with run.part("answers.parquet") as path:
        pq.write_table(found.answers.cast(ANSWERS), path, compression="zstd", row_group_size=65_536)
    with run.part("decisions.parquet") as path:
        pq.write_table(found.decisions.cast(DECISIONS), path, compression="zstd", row_group_size=65_536)
    run.write_json("about.json", found.about)
    run.measure(answers=found.answers.num_rows, people=len(found.about["people"]), decisions=found.decisions.num_rows,
                **({"erased": found.erased} if found.erased else {}))
    return run.result(Answers)


@stage(version=2)
def aggregate(
    run: Run,
    answers: Answers,
    records: tuple[Records, ...],
    *,
    method: METHODS = "auto",
    column: str = "label",
    flag_below: Annotated[float, Field(ge=0, le=1)] = 0.6,
    drop_flagged: bool = False,
    strength: Annotated[float, Field(gt=0)] = 1.0,
) -> Records:
    """Make one answer of many: records with a label, how sure it is, and how many agreed.

    ``auto`` is Dawid and Skene's model for one class of several, the median for ratings, and the majority of overlapping
    marks for spans, boxes and polygons; a decision of whoever adjudicated always stands. Below ``flag_below`` a record is
    flagged (``drop_flagged`` sets it aside). Records without an answer stand in rejected.parquet; quality.json tells how
    well each person does, by the model and by the checks.
    """
    gathered = Gathered.read(answers)
    settled = settle(gathered, method, strength)
    names = [column, f"{column}_confidence", f"{column}_agreed", f"{column}_answers", f"{column}_flag"]
    counts = {"kept": 0, "flagged": 0, "no-answer": 0, "low-confidence": 0}
    readers = [RecordReader(one) for one in records]
    if not readers:
        raise MofangError("label-records-missing")
    schema = _with_label(readers, names)
    about = {name: value for name, value in readers[0].about.items() if name not in ("format", "columns", "rows")}
    if len(readers) > 1:
        about["sources"] = united(sources_of(one.about, one.roles) for one in readers)
    about["labelled"] = {"column": column, "method": settled.method, "schema": gathered.schema.to_dict(),
                         "people": len(gathered.people)}
    total = sum(one.rows for one in readers)
    with (
        run.part("rejected.parquet") as path,
        pq.ParquetWriter(path, REJECTED, compression="zstd") as rejected,
        RecordWriter(run, schema=schema, about=about) as writer,
        run.progress("Labelling records", "正在写入标签", total) as bar,
    ):
        for reader in readers:
            for batch in reader.batches():
                _label(batch, settled, schema, names, (flag_below, drop_flagged), writer, rejected, counts)
                bar.advance(len(batch))
    run.write_json("quality.json", {"method": settled.method, "people": settled.people, "classes": settled.classes,
                                    "rounds": settled.rounds})
    if not counts["kept"]:
        raise MofangError("label-nothing-answered")
    run.measure(**counts, people=len(settled.people))
    return run.result(Records)


def _with_label(readers: list[RecordReader], names: list[str]) -> pa.Schema:
    """The records' own columns, and those of the label in the place of any of the same name."""
    for reader in readers[1:]:
        if reader.roles != readers[0].roles:
            raise MofangError("label-records-differ", one=", ".join(readers[0].roles), other=", ".join(reader.roles))
    kept = [one for one in readers[0].schema if one.name not in names and roles_of(pa.schema([one])).get(one.name) != "label"]
    return pa.schema([*kept, field(names[0], "label"), *(field(name, "other") for name in names[1:])])


def _label(batch: Batch, settled: Settled, schema: pa.Schema, names: list[str], flagging: tuple[float, bool],
           writer: RecordWriter, rejected: pq.ParquetWriter, counts: dict[str, int]) -> None:
    """Write one batch with its labels; what has none, or too little confidence, is set aside."""
    ids = batch.column(ID)
    found = [settled.of(one) for one in ids]
    below, drop = flagging
    flagged = [one is not None and not one.decided and (one.confidence < below or one.tied) for one in found]
    keep = [place for place, one in enumerate(found) if one is not None and not (drop and flagged[place])]
    gone = [place for place, one in enumerate(found) if place not in set(keep)]
    reasons = ["no-answer" if found[place] is None else "low-confidence" for place in gone]
    if gone:
        details = ["" if (one := found[place]) is None else f"{one.text} {one.confidence:.3f}" for place in gone]
        rejected.write_batch(pa.RecordBatch.from_pydict({ID: [ids[place] for place in gone], "reason": reasons,
                                                         "detail": details}, schema=REJECTED))
    for reason in reasons:
        counts[reason] += 1
    chosen = batch.take(keep)
    said = [one for place in keep if (one := found[place]) is not None]
    columns = {names[0]: [one.text for one in said], names[1]: [f"{one.confidence:.6f}" for one in said],
               names[2]: [str(one.agreed) for one in said], names[3]: [str(one.answers) for one in said],
               names[4]: ["yes" if flagged[place] else "" for place in keep]}
    arrays = [pa.array(columns[one.name], pa.string()) if one.name in columns else chosen.table.column(one.name)
              for one in schema]
    writer.write(Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), chosen.media))
    counts["kept"] += len(keep)
    counts["flagged"] += sum(flagged[place] for place in keep)


def rows_of(artifact: Artifact, part: str) -> Iterator[dict[str, Any]]:
    """The rows of a part, a batch at a time."""
    with artifact.open(part) as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches(4096):
            yield from batch.to_pylist()


def answer_text(answer: dict[str, Any]) -> str:
    """An answer as it stands in a column: keys in order."""
    return orjson.dumps(answer, option=orjson.OPT_SORT_KEYS).decode()
