"""Clean: one spelling for text, and every record that should not teach a model dropped, counted and kept
with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.personal import holds_personal_data
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.cleaning.duplicates import KEEP, REASONS, Decisions, Signatures, decide_copies, keep_first
from mofang.data.cleaning.labelmap import label_map
from mofang.data.cleaning.looking import ALL_REASONS, DAMAGED, Look, Rules, Spelling
from mofang.data.cleaning.near import NearCopies
from mofang.data.cleaning.photocopies import PhotoCopies
from mofang.data.operators import default_operators
from mofang.data.pixels import ImageFacts
from mofang.data.records import Batch, RecordReader, Records, RecordWriter
from mofang.data.roles import ID, INPUT_ROLES, MEDIA_ROLES, with_role
from mofang.data.snapshots.survivors import kept_before, write_ties


@holds_personal_data
class Cleaned(Artifact):
    """Records after cleaning:

    ``kept`` (records), ``rejected.parquet`` with reasons, ``statistics.parquet`` of all.
    """

    kind = "cleaned"
    inside = {"kept": "records"}  # noqa: RUF012


@stage(version=2)
def clean(
    run: Run,
    records: Records,
    previous: Cleaned | None = None,
    *,
    labels: str = "",
    min_chars: Annotated[int, Field(ge=0)] = 1,
    max_chars: Annotated[int, Field(ge=0)] = 0,
    duplicates: bool = True,
    near_duplicate: Annotated[float, Field(ge=0, le=1)] = 0.85,
    conflicts: Literal["auto", "reject", "keep"] = "auto",
    min_side: Annotated[int, Field(ge=1)] = 4,
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000,
    bad_share: Annotated[float, Field(ge=0, le=1)] = 0.05,
) -> Cleaned:
    """Bring texts and labels into one spelling; drop empty records, copies and texts with conflicting labels.

    Every dropped record is kept in rejected.parquet with its reason and the id of the record that stays in
    its place; of copies the one that ``previous`` kept stays. ``labels`` makes the classes, as in
    ``4,5=positive;1,2=negative``; a label it does not name is set aside. Near copies share ``near_duplicate`` of
    their character shingles and the label (0 switches this off; below five characters only exact copies count), or
    are one photo saved twice. ``max_chars`` 0 means no limit. More than ``bad_share`` damaged images stop the run.
    """
    reader = RecordReader(records)
    mapped = label_map(labels) if labels else {}
    specs = tuple(default_operators(reader.roles))
    spelling = Spelling(specs, tuple(with_role(reader.roles, "label")), mapped)
    rules = Rules(min_chars, max_chars, min_side, max_pixels)
    reject_conflicts = conflicts == "reject" or (
        conflicts == "auto" and bool(with_role(reader.roles, ("text", *MEDIA_ROLES)))
    )
    signs = Signatures(run.scratch / "signatures")
    texts, photos = with_role(reader.roles, "text"), reader.media_columns
    near = NearCopies(run.scratch / "near", near_duplicate) if near_duplicate and texts else None
    copies = PhotoCopies(run.scratch / "photos") if near_duplicate and len(photos) == 1 and not texts else None
    with run.progress("Looking at records", "正在检查记录", reader.rows) as bar:
        codes, merged = _sign(run, reader, spelling, rules, signs, near, copies, bar)
    decisions = Decisions(run.scratch / "decisions", reader.rows)
    decisions.codes[:] = codes
    _require_whole(codes, bad_share)
    signed = signs.table()
    if previous is not None:
        decisions.kept_before[:] = kept_before(previous, signed)
    tied, alike = np.zeros((0, 2), np.int64), 0
    if duplicates:
        decide_copies(signed, decisions, reject_conflicts=reject_conflicts)
        tied, alike = _decide_near(signed, decisions, near, copies)
    with run.progress("Writing records", "正在写入记录", reader.rows) as bar:
        counts = _write(run, reader, spelling, signed, decisions, bar)
    if not counts[""]:
        raise MofangError("nothing-left", rows=reader.rows, reasons=_worded(counts))
    if len(tied):
        write_ties(run, "kept/", tied, signed)
    found = {"labels_merged": merged, "alike": alike, "tied": len(np.unique(tied))}
    run.measure(rows=reader.rows, kept=counts.pop(""), dropped=dict(counts), **{k: n for k, n in found.items() if n})
    return run.result(Cleaned)


def _decide_near(
    signed: np.ndarray[Any, Any], decisions: Decisions, near: NearCopies | None, copies: PhotoCopies | None
) -> tuple[npt.NDArray[np.int64], int]:
    """Drop near copies; the pairs that stay though they are near, and how many photos look too alike to tell."""
    pairs, alike = np.zeros((0, 2), np.int64), 0
    if near:
        pairs = near.pairs(signed, decisions)
    elif copies:
        pairs, alike = copies.pairs(np.asarray(decisions.codes) == KEEP)
    return keep_first(pairs, signed, decisions), alike


def _sign(
    run: Run,
    reader: RecordReader,
    spelling: Spelling,
    rules: Rules,
    signs: Signatures,
    near: NearCopies | None,
    copies: PhotoCopies | None,
    bar: Any,
) -> tuple[np.ndarray[Any, Any], int]:
    """First pass: statistics, what is wrong with each record by itself, the signatures for the comparison, and how many
    spellings of labels became one. Batches are looked at wherever the shop's executor runs; the order is the records'
    own."""
    inputs = with_role(reader.roles, [role for role in INPUT_ROLES if role not in MEDIA_ROLES])
    texts = with_role(reader.roles, "text")
    look = Look(spelling, rules, tuple(inputs), tuple(texts))
    codes = np.zeros(reader.rows, np.uint8)
    spellings: dict[str, str] = {}
    with (
        run.part("statistics.parquet") as path,
        _Statistics(path, texts, reader.media_columns) as statistics,
    ):
        for looked in run.shop.executor.map(look, reader.batches()):
            first = signs.rows
            codes[first : first + len(looked.ids)] = looked.codes
            signs.add(looked.contents, looked.labels, looked.ids)
            if near:
                near.add(first, looked.texts)
            if copies:
                copies.add(first, [one.sketch for one in next(iter(looked.facts.values()))])
            spellings |= looked.spellings
            statistics.write(looked.ids, looked.chars, looked.facts)
            bar.advance(len(looked.ids))
    return codes, len(spellings) - len(set(spellings.values()))


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
    spelling: Spelling,
    signed: np.ndarray[Any, Any],
    decisions: Decisions,
    bar: Any,
) -> Counter[str]:
    """Second pass: write what stays and what is rejected; how many for each reason ("" for kept)."""
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
        "operators": list(spelling.specs),
    }
    first = 0
    with (
        run.part("rejected.parquet") as path,
        pq.ParquetWriter(path, rejected_schema, compression="zstd") as rejected,
        RecordWriter(run, "kept/", schema=reader.schema, about=about) as kept,
    ):
        for batch in reader.batches():
            codes = np.array(decisions.codes[first : first + len(batch)])
            columns, _ = spelling.columns(batch)
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
    with cleaned.open("rejected.parquet") as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches():
            yield from (row for row in batch.to_pylist() if not reason or row["reason"] == reason)
