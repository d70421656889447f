"""The second pass: which records stay, decided for all of them from their figures and signatures.

On the disk stand 40 bytes a record for exact copies and, for near ones, some 260; memory holds a partition of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.data.cleaning.deciding import Columns, Reasons, Thresholds, row_marks
from mofang.data.cleaning.duplicates import KEEP, Decisions, Signatures, decide_copies, keep_first
from mofang.data.cleaning.near import PERMUTATIONS, NearCopies
from mofang.data.cleaning.outliers import far_rows
from mofang.data.cleaning.photocopies import SKETCH_BYTES, PhotoCopies
from mofang.data.roles import ID, INPUT_ROLES, with_role
from mofang.data.snapshots.survivors import kept_before
from mofang.data.survey import Survey

HIDDEN = ("_minhash", "_sketch", "_shingles")


@dataclass
class Chosen:
    """What was decided: a code and a survivor for each record, the reasons behind the codes, near copies that stay."""

    decisions: Decisions
    signed: np.ndarray[Any, Any]
    reasons: Reasons
    flags: npt.NDArray[np.uint8]
    flagged: Counter[str]
    tied: npt.NDArray[np.int64]
    alike: int


def choose(
    run: Run,
    survey: Survey,
    roles: Mapping[str, str],
    thresholds: Thresholds,
    *,
    outliers: float,
    duplicates: bool,
    near: str,
    near_duplicate: float,
    reject_conflicts: bool,
    previous: Artifact | None,
    check: Callable[[Counter[str]], None],
) -> Chosen:
    """Decide for every record; ``check`` is shown the counts of the reasons before copies are looked for."""
    rows = survey.measures["rows"]
    decisions, reasons = Decisions(run.scratch / "decisions", rows), Reasons()
    flags = np.memmap(run.scratch / "decisions" / "flags.bin", np.uint8, "w+", shape=max(rows, 1))[:rows]
    signs = Signatures(run.scratch / "signatures")
    texts = NearCopies(run.scratch / "near", near_duplicate, words=near == "words") if near in ("characters", "words") else None
    photos = PhotoCopies(run.scratch / "photos") if near == "photos" else None
    names, images, sounds = (tuple(with_role(roles, kind)) for kind in ("text", "image", "audio"))
    columns = Columns(names, images, sounds, len(with_role(roles, INPUT_ROLES)))
    first = 0
    with run.progress("Deciding", "正在判定", rows) as bar:
        for piece in range(survey.pieces):
            table = survey.facts(piece)
            marks = row_marks(table.drop_columns([name for name in HIDDEN if name in table.schema.names]), columns, thresholds, reasons)
            span = slice(first, first + table.num_rows)
            decisions.codes[span], flags[span] = marks.codes, marks.flags
            _sign(table, first, signs, texts, photos)
            first += table.num_rows
            bar.advance(table.num_rows)
    signed = signs.table()
    if outliers:
        _mark_outliers(survey, with_role(roles, "number"), outliers, signed, decisions, flags, reasons, thresholds.flag)
    check(counted(decisions.codes, reasons))
    if previous is not None:
        decisions.kept_before[:] = kept_before(previous, signed)
    tied, alike = np.zeros((0, 2), np.int64), 0
    if duplicates:
        decide_copies(signed, decisions, reject_conflicts=reject_conflicts)
        pairs = tied
        if texts:
            pairs = texts.pairs(signed, decisions, lambda wanted: _texts_of(survey, columns.texts, wanted))
        elif photos:
            pairs, alike = photos.pairs(np.asarray(decisions.codes) == KEEP)
        tied = keep_first(pairs, signed, decisions)
    flagged = counted(flags, reasons)
    del flagged[""]
    return Chosen(decisions, signed, reasons, flags, flagged, tied, alike)


def counted(codes: npt.NDArray[np.uint8], reasons: Reasons) -> Counter[str]:
    """How many records have each reason ("" for none)."""
    numbers = np.bincount(codes, minlength=1)
    return Counter({reasons.names[code]: int(count) for code, count in enumerate(numbers.tolist()) if count or not code})


def _sign(table: pa.Table, first: int, signs: Signatures, texts: NearCopies | None, photos: PhotoCopies | None) -> None:
    """Hand the signatures of a piece on."""
    labels = table.column("_label").to_numpy()
    signs.add(_flat(table.column("_content"), 16), labels, table.column(ID).to_pylist())
    if texts:
        minima = np.frombuffer(_flat(table.column("_minhash"), 2 * PERMUTATIONS), "<u2").reshape(-1, PERMUTATIONS)
        texts.add(table.column("_shingles").to_numpy(), minima)
    if photos:
        empty = bytes(SKETCH_BYTES)
        photos.add(first, [b"" if one == empty else one for one in table.column("_sketch").to_pylist()])


def _flat(column: pa.ChunkedArray, width: int) -> bytes:
    """The bytes of a column of values of one width, one after another."""
    found = []
    for chunk in column.chunks:
        data = chunk.buffers()[1]
        found.append(data.slice(chunk.offset * width, len(chunk) * width).to_pybytes())
    return b"".join(found)


def _mark_outliers(
    survey: Survey,
    names: list[str],
    distance: float,
    signed: np.ndarray[Any, Any],
    decisions: Decisions,
    flags: npt.NDArray[np.uint8],
    reasons: Reasons,
    flagged: tuple[str, ...],
) -> None:
    into = flags if "outlier" in flagged else decisions.codes
    first, code = 0, reasons.code("outlier")
    for far in far_rows(survey.pieces, survey.values, names, distance, signed["id"][:, 0]):
        span = slice(first, first + len(far))
        into[span][(decisions.codes[span] == KEEP) & (into[span] == KEEP) & far] = code
        first += len(far)


def _texts_of(survey: Survey, names: tuple[str, ...], wanted: npt.NDArray[np.int64]) -> Iterator[list[str]]:
    """The texts of these rows, which ascend, a piece at a time."""
    first = 0
    for piece in range(survey.pieces):
        rows = survey.facts(piece, ["_label"]).num_rows
        low, high = np.searchsorted(wanted, (first, first + rows))
        if high > low:
            table = survey.values(piece, list(names)).take(pa.array(wanted[low:high] - first))
            columns = [table.column(name).to_pylist() for name in names]
            yield ["\n".join(value or "" for value in row) for row in zip(*columns, strict=True)]
        first += rows
