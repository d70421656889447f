"""Clean: one spelling for text, and every record that should not teach a model dropped, counted and kept
with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.duplicates import KEEP, REASONS, Decisions, Signatures, content_of, decide_copies
from mofang.data.near import NearCopies
from mofang.data.operators import apply_to_columns, default_operators, normalise
from mofang.data.pixels import ImageFacts, look_at
from mofang.data.records import Batch, RecordReader, Records, RecordWriter
from mofang.data.roles import ID, INPUT_ROLES, MEDIA_ROLES, with_role

ROW_REASONS = ("empty", "too-short", "too-long", "not-an-image", "image-too-small", "image-too-large")
ALL_REASONS = (*REASONS, *ROW_REASONS)
DAMAGED = ("not-an-image", "image-too-large")
IMAGE_THREADS = 4


class Cleaned(Artifact):
    """Records after cleaning:

    ``kept`` (records), ``rejected.parquet`` with reasons, ``statistics.parquet`` of all.
    """

    kind = "cleaned"
    inside = {"kept": "records"}  # noqa: RUF012


@dataclass(frozen=True)
class Rules:
    """The settings of ``clean`` that look at one record at a time."""

    min_chars: int
    max_chars: int
    min_side: int
    max_pixels: int


@stage(version=1)
def clean(
    run: Run,
    records: Records,
    *,
    min_chars: Annotated[int, Field(ge=0)] = 1,
    max_chars: Annotated[int, Field(ge=0)] = 0,
    duplicates: bool = True,
    near_duplicate: Annotated[float, Field(ge=0, le=1)] = 0.85,
    conflicts: Literal["auto", "reject", "keep"] = "auto",
    min_side: Annotated[int, Field(ge=1)] = 4,
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000,
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Cleaned:
    """Bring texts into one spelling; drop empty records, copies and texts with conflicting labels.

    Every dropped record is kept in rejected.parquet with its reason and the id of the record that stays in
    its place. Near copies share ``near_duplicate`` of their character shingles and the label (0 switches this
    off); below five characters only exact copies count. ``max_chars`` 0 means no limit. More than
    ``bad_share`` damaged images stop the run.
    """
    reader = RecordReader(records)
    rules = Rules(min_chars, max_chars, min_side, max_pixels)
    specs = default_operators(reader.roles)
    reject_conflicts = conflicts == "reject" or (
        conflicts == "auto" and bool(with_role(reader.roles, ("text", *MEDIA_ROLES)))
    )
    signs = Signatures(run.scratch / "signatures")
    near = (
        NearCopies(run.scratch / "near", near_duplicate)
        if near_duplicate and with_role(reader.roles, "text")
        else None
    )
    with run.progress("Looking at records", "正在检查记录", reader.rows) as bar:
        codes = _sign(run, reader, specs, rules, signs, near, bar)
    decisions = Decisions(run.scratch / "decisions", reader.rows)
    decisions.codes[:] = codes
    _require_whole(codes, bad_share)
    signed = signs.table()
    if duplicates:
        decide_copies(signed, decisions, reject_conflicts=reject_conflicts)
        if near:
            near.decide(signed, decisions)
    with run.progress("Writing records", "正在写入记录", reader.rows) as bar:
        counts = _write(run, reader, specs, signed, decisions, bar)
    if not counts[""]:
        raise MofangError("nothing-left", rows=reader.rows, reasons=_worded(counts))
    run.measure(rows=reader.rows, kept=counts.pop(""), dropped=dict(counts))
    return run.result(Cleaned)


def cleaned_columns(
    batch: Batch, specs: Sequence[dict[str, Any]], labels: Sequence[str]
) -> dict[str, Sequence[Any]]:
    """A batch's columns after the operators; labels get the same spelling, so that 好评 and 好评␠ are one
    class."""
    columns = apply_to_columns(specs, {name: batch.column(name) for name in batch.table.schema.names})
    for name in labels:
        columns[name] = [normalise(value) or None if value else None for value in columns[name]]
    return columns


@dataclass(frozen=True)
class Looked:
    """What the first pass needs to know of one batch: everything but the records themselves."""

    ids: list[str]
    codes: list[int]
    contents: list[bytes]
    labels: list[str | None]
    texts: list[str]
    chars: dict[str, list[int]]
    facts: dict[str, list[ImageFacts]]


@dataclass(frozen=True)
class Look:
    """Looks at one batch by itself; picklable, so that it runs in this process, in several, or on a cluster."""

    specs: tuple[dict[str, Any], ...]
    rules: Rules
    inputs: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __call__(self, batch: Batch) -> Looked:
        columns = cleaned_columns(batch, self.specs, self.labels)
        see = partial(look_at, min_side=self.rules.min_side, max_pixels=self.rules.max_pixels)
        with ThreadPoolExecutor(IMAGE_THREADS) as threads:
            facts = {name: list(threads.map(see, values)) for name, values in batch.media.items()}
        rows = range(len(batch))
        wrong = [_wrong(columns, row, self.inputs, self.texts, facts, self.rules) for row in rows]
        contents = [content_of([columns[name][row] for name in self.inputs], [values[row] for values in batch.media.values()])
                    for row in rows]
        label = list(columns[self.labels[0]]) if self.labels else [None] * len(batch)
        texts = ["\n".join(columns[name][row] or "" for name in self.texts) for row in rows] if self.texts else []
        chars = {name: [len(value or "") for value in columns[name]] for name in self.texts}
        return Looked(batch.column(ID), [ALL_REASONS.index(reason) for reason in wrong], contents, label, texts, chars, facts)


def _sign(
    run: Run,
    reader: RecordReader,
    specs: Sequence[dict[str, Any]],
    rules: Rules,
    signs: Signatures,
    near: NearCopies | None,
    bar: Any,
) -> np.ndarray[Any, Any]:
    """First pass: statistics, what is wrong with each record by itself, and the signatures for the
    comparison. Batches are looked at wherever the shop's executor runs; the order is the records' own."""
    inputs = with_role(reader.roles, [role for role in INPUT_ROLES if role not in MEDIA_ROLES])
    texts, labels = with_role(reader.roles, "text"), with_role(reader.roles, "label")
    look = Look(tuple(specs), rules, tuple(inputs), tuple(texts), tuple(labels))
    codes = np.zeros(reader.rows, np.uint8)
    with (
        run.part("statistics.parquet") as path,
        _Statistics(path, texts, reader.media_columns) as statistics,
    ):
        for looked in run.shop.executor.map(look, reader.batches()):
            first = signs.rows
            codes[first : first + len(looked.ids)] = looked.codes
            signs.add(looked.contents, looked.labels, looked.ids)
            if near:
                near.add(first, looked.texts, looked.labels)
            statistics.write(looked.ids, looked.chars, looked.facts)
            bar.advance(len(looked.ids))
    return codes


def _wrong(
    columns: dict[str, Sequence[Any]],
    row: int,
    inputs: Sequence[str],
    texts: Sequence[str],
    facts: dict[str, list[ImageFacts]],
    rules: Rules,
) -> str:
    """What is wrong with one record by itself, or nothing."""
    for looked in facts.values():
        if looked[row].reason:
            return looked[row].reason
    if not facts and all(columns[name][row] in (None, "") for name in inputs):
        return "empty"
    chars = sum(len(columns[name][row] or "") for name in texts)
    if texts and not chars and not facts:
        return "empty"
    if texts and chars < rules.min_chars:
        return "too-short"
    return "too-long" if texts and rules.max_chars and chars > rules.max_chars else ""


def _require_whole(codes: np.ndarray[Any, Any], bad_share: float) -> None:
    damaged = {reason: int(np.sum(codes == ALL_REASONS.index(reason))) for reason in DAMAGED}
    total = sum(damaged.values())
    if total > bad_share * len(codes):
        raise MofangError(
            "too-many-damaged",
            damaged=total,
            total=len(codes),
            share=f"{total / len(codes):.1%}",
            bad_share=f"{bad_share:.1%}",
            reasons=_worded(Counter(damaged)),
        )


def _worded(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common() if reason and count)


def _write(
    run: Run,
    reader: RecordReader,
    specs: Sequence[dict[str, Any]],
    signed: np.ndarray[Any, Any],
    decisions: Decisions,
    bar: Any,
) -> Counter[str]:
    """Second pass: write what stays and what is rejected; how many for each reason ("" for kept)."""
    labels = with_role(reader.roles, "label")
    counts: Counter[str] = Counter()
    rejected_schema = pa.schema(
        [
            (ID, pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            *(one for one in reader.schema if one.name != ID),
        ]
    )
    about = {
        **{name: value for name, value in reader.about.items() if name not in ("format", "columns", "rows")},
        "operators": list(specs),
    }
    first = 0
    with (
        run.part("rejected.parquet") as path,
        pq.ParquetWriter(path, rejected_schema, compression="zstd") as rejected,
        RecordWriter(run, "kept/", schema=reader.schema, about=about) as kept,
    ):
        for batch in reader.batches():
            codes = np.array(decisions.codes[first : first + len(batch)])
            columns = cleaned_columns(batch, specs, labels)
            arrays = [pa.array(columns[one.name], one.type) for one in reader.schema]
            table = pa.RecordBatch.from_arrays(arrays, schema=reader.schema)
            kept.write(Batch(table, batch.media).take(np.nonzero(codes == KEEP)[0]))
            gone = np.nonzero(codes != KEEP)[0]
            if len(gone):
                rejected.write_batch(_rejected(table, gone, codes, first, signed, decisions, rejected_schema))
            counts.update(ALL_REASONS[code] for code in codes)
            first += len(batch)
            bar.advance(len(batch))
    return counts


def _rejected(
    table: pa.RecordBatch,
    gone: np.ndarray[Any, Any],
    codes: np.ndarray[Any, Any],
    first: int,
    signed: np.ndarray[Any, Any],
    decisions: Decisions,
    schema: pa.Schema,
) -> pa.RecordBatch:
    chosen = [column.take(pa.array(gone)) for column in table.columns]
    details = []
    for place in gone:
        compared = codes[place] < len(REASONS)
        hi, lo = signed["id"][decisions.survivors[first + place]] if compared else (0, 0)
        details.append(f"{int(hi):016x}{int(lo):016x}" if compared else "")
    reasons = pa.array([ALL_REASONS[codes[place]] for place in gone])
    return pa.RecordBatch.from_arrays([chosen[0], reasons, pa.array(details), *chosen[1:]], schema=schema)


class _Statistics:
    """Writes statistics.parquet: characters of each text, width and height of each image, for every record
    read."""

    def __init__(self, path: Path, texts: Sequence[str], media: Sequence[str]) -> None:
        names = [f"{name}.chars" for name in texts] + [
            f"{name}.{side}" for name in media for side in ("width", "height")
        ]
        self._schema = pa.schema([(ID, pa.string()), *((name, pa.int32()) for name in names)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(
        self, ids: Sequence[str], chars: dict[str, list[int]], facts: dict[str, list[ImageFacts]]
    ) -> None:
        """Append one batch."""
        columns: dict[str, Any] = {ID: ids}
        columns |= {f"{name}.chars": counts for name, counts in chars.items()}
        for name, looked in facts.items():
            columns |= {
                f"{name}.width": [one.width for one in looked],
                f"{name}.height": [one.height for one in looked],
            }
        self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=self._schema))

    def __enter__(self) -> _Statistics:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def rejected_rows(cleaned: Artifact, reason: str = "") -> Iterator[dict[str, Any]]:
    """The rejected records, of one reason or all, as dictionaries."""
    with pq.ParquetFile(cleaned.path("rejected.parquet")) as file:
        for batch in file.iter_batches():
            yield from (row for row in batch.to_pylist() if not reason or row["reason"] == reason)
