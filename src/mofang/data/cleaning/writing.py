"""Writing what stays and what was rejected, in the order of the records, from the transformed pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.data.cleaning.choosing import Chosen
from mofang.data.cleaning.duplicates import KEEP, REASONS
from mofang.data.cleaning.shards import batches_of, pieces_of
from mofang.data.records import SMALL_GROUP_BYTES, Batch, RecordReader, RecordWriter
from mofang.data.roles import ID
from mofang.data.survey import Survey

COMPARED = REASONS[1:]


def write(run: Run, records: Artifact, survey: Survey, chosen: Chosen) -> Counter[str]:
    """Write ``kept``, ``rejected.parquet`` and ``statistics.parquet``; how many for each reason ("" for kept)."""
    counts: Counter[str] = Counter({"": 0})
    reader, first, about = RecordReader(records), 0, survey.read_json("about.json")
    schema = pa.schema([_with_role(one) for one in survey.values(0).schema])
    about = {name: about[name] for name in about if name not in ("format", "columns", "rows", "pieces", "notes")}
    outside = pa.schema([(ID, pa.string()), ("reason", pa.string()), ("detail", pa.string()), *list(schema)[1:]])
    with ExitStack() as stack:
        rejected = stack.enter_context(_Sheet(run, stack, "rejected.parquet"))
        statistics = stack.enter_context(_Sheet(run, stack, "statistics.parquet"))
        kept = stack.enter_context(RecordWriter(run, "kept/", schema=schema, about=about, group_bytes=SMALL_GROUP_BYTES))
        bar = stack.enter_context(run.progress("Writing records", "正在写入记录", reader.rows))
        for piece, (facts, values) in enumerate(_ahead(survey, schema)):
            codes = np.array(chosen.decisions.codes[first : first + facts.num_rows])
            for batch, place in _batches(records, reader, values, piece):
                some = codes[place : place + len(batch)]
                if (some == KEEP).any():
                    kept.write(batch if (some == KEEP).all() else batch.take(np.nonzero(some == KEEP)[0]))
                gone = np.nonzero(some != KEEP)[0]
                rejected.write(_rejected(batch.table, gone, some, first + place, chosen, outside))
            if chosen.flagged:
                names = [chosen.reasons.names[code] for code in chosen.flags[first : first + facts.num_rows]]
                facts = facts.append_column("flag", pa.array(names, pa.string()))
            statistics.write(facts)
            found = np.bincount(codes, minlength=len(chosen.reasons.names))
            counts.update({chosen.reasons.names[code]: int(found[code]) for code in np.nonzero(found)[0]})
            first += facts.num_rows
            bar.advance(facts.num_rows)
    return counts


def _ahead(survey: Survey, schema: pa.Schema) -> Iterator[tuple[pa.Table, pa.RecordBatch]]:
    """The figures that are shown and the transformed records of each piece, read while the piece before is written."""

    def read(piece: int) -> tuple[pa.Table, pa.RecordBatch]:
        table = survey.values(piece).cast(schema).combine_chunks()
        whole = table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema)
        return survey.facts(piece, hidden=False), whole

    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, 0)
        for piece in range(survey.pieces):
            found = waiting.result()
            if piece + 1 < survey.pieces:
                waiting = reader.submit(read, piece + 1)
            yield found


def _with_role(field: pa.Field) -> pa.Field:
    kept = {key: value for key, value in (field.metadata or {}).items() if key == b"role"}
    return field.with_metadata(kept or None)


def _batches(
    records: Artifact, reader: RecordReader, whole: pa.RecordBatch, piece: int
) -> Iterator[tuple[Batch, int]]:
    """The transformed records of a piece with their media, and where in the piece each batch begins."""
    if not reader.media_columns:
        yield Batch(whole, {}), 0
        return
    place = 0
    for batch in batches_of(records, pieces_of(records)[piece]):
        yield Batch(whole.slice(place, len(batch)), batch.media), place
        place += len(batch)


def _rejected(
    table: pa.RecordBatch,
    gone: npt.NDArray[np.int64],
    codes: npt.NDArray[np.uint8],
    first: int,
    chosen: Chosen,
    schema: pa.Schema,
) -> pa.Table:
    """The rows that go, with the reason and the id of the record that stays in their place."""
    taken = [column.take(pa.array(gone)) for column in table.columns]
    reasons = [chosen.reasons.names[codes[place]] for place in gone]
    details = []
    for place, reason in zip(gone, reasons, strict=True):
        compared = reason in COMPARED
        hi, lo = chosen.signed["id"][chosen.decisions.survivors[first + place]] if compared else (0, 0)
        details.append(f"{int(hi):016x}{int(lo):016x}" if compared else "")
    arrays = [taken[0], pa.array(reasons, pa.string()), pa.array(details, pa.string()), *taken[1:]]
    return pa.Table.from_arrays(arrays, schema=schema)


class _Sheet:
    """A Parquet part that is opened with the first rows' own columns."""

    def __init__(self, run: Run, stack: ExitStack, name: str) -> None:
        self._path = stack.enter_context(run.part(name))
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self._writer is None:
            schema = table.schema.remove_metadata()
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        if table.num_rows:
            self._writer.write_table(table.cast(self._writer.schema))

    def __enter__(self) -> _Sheet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
