"""Counts and sums with noise, by OpenDP's discrete Laplace mechanism.

Neighbouring data sets differ by one record, or by one person with at most ``contributions`` records. A mean is a sum and a
count, each with half of epsilon; the sum is over whole steps of the bounds, so its sensitivity is exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.data.columns import text_of
from mofang.data.protecting.coarse import given_pairs
from mofang.data.records import RecordReader
from mofang.data.roles import with_role

if TYPE_CHECKING:
    from mofang.core.artifact import Artifact
    from mofang.core.run import Run

STEPS = 1 << 20  # whole steps between the bounds of a mean
CELLS_MOST = 100_000
REST = "*"  # the cell for all values that were not named
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Axis:
    """One column of a table of counts: named values, or bins between two bounds; and one cell for the rest."""

    column: str
    names: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def place(self, value: Any) -> int:
        """The cell of a value."""
        if not self.edges:
            text = text_of(value)
            return self.names.index(text) if text in self.names else len(self.names) - 1
        try:
            number = float(value)
        except (TypeError, ValueError):
            return len(self.names) - 1
        if not self.edges[0] <= number <= self.edges[-1]:
            return len(self.names) - 1
        return min(int(np.searchsorted(self.edges, number, side="right")) - 1, len(self.edges) - 2)


@dataclass(frozen=True)
class Question:
    """What is asked: how many, the mean of a column between bounds, or counts along axes; of some records or all."""

    what: str
    column: str
    bounds: tuple[float, float] | None
    axes: tuple[Axis, ...]
    where: tuple[str, str] | None

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        named = [self.column, *(axis.column for axis in self.axes), *(self.where or ())[:1]]
        return list(dict.fromkeys(filter(None, named)))


def question_of(records: Sequence[Artifact], *, what: str, column: str, bounds: Sequence[float], cells: Sequence[str],
                where: str) -> Question:
    """The question that settings ask; what is missing is refused before anything is charged."""
    roles = RecordReader(records[0]).roles
    axes = tuple(_axis(name, text) for name, text in given_pairs(cells, "cells").items())
    if what == "mean" and (not column or len(bounds) != 2 or not -math.inf < bounds[0] < bounds[1] < math.inf):
        raise MofangError("private-needs", what=what, setting="bounds" if column else "column",
                          why="the noise must cover the largest value that one record may have",
                          example="--column age --bounds 0,120")
    if what in ("histogram", "release") and not axes:
        raise MofangError("private-needs", what=what, setting="cells",
                          why="cells taken from the records would tell which values there are",
                          example="--cells 'city=上海|北京' or --cells age=0:100:10")
    if math.prod(len(axis.names) for axis in axes) > CELLS_MOST:
        raise MofangError("private-needs", what=what, setting="cells", why=f"at most {CELLS_MOST} cells",
                          example="--cells age=0:100:10")
    chosen = next(iter(given_pairs([where], "where").items())) if where else None
    limits = (float(bounds[0]), float(bounds[1])) if what == "mean" else None
    question = Question(what, column if what == "mean" else "", limits, axes if what in ("histogram", "release") else (), chosen)
    for name in question.columns:
        if name not in roles:
            raise MofangError("column-missing", column=name, columns=", ".join(roles), nearest=nearest(name, roles),
                              file="values.parquet")
    return question


def _axis(name: str, text: str) -> Axis:
    pieces = text.split(":")
    if len(pieces) == 3 and "|" not in text:
        try:
            low, high, bins = float(pieces[0]), float(pieces[1]), int(pieces[2])
        except ValueError:
            raise MofangError("protect-pair", setting="cells", given=text) from None
        if not (-math.inf < low < high < math.inf and 0 < bins <= CELLS_MOST):
            raise MofangError("protect-pair", setting="cells", given=text)
        edges = (*(low + (high - low) * place / bins for place in range(bins)), high)
        names = tuple(f"{one:g}–{other:g}" for one, other in zip(edges, edges[1:], strict=False))
        return Axis(name, (*names, REST), edges)
    values = tuple(dict.fromkeys(one.strip() for one in text.split("|") if one.strip()))
    return Axis(name, (*values, REST))


def ask(run: Run, records: Sequence[Artifact], question: Question, epsilon: float, contributions: int,
        ) -> tuple[dict[str, Any], pa.Table | None]:
    """The noised answer, and the table of a release."""
    person = with_role(RecordReader(records[0]).roles, "person")[:1]
    unit = contributions if person else 1
    counts = np.zeros([len(axis.names) for axis in question.axes] or [1], np.int64)
    total = 0
    for row in _rows(run, records, question, person, contributions):
        counts[tuple(axis.place(row[axis.column]) for axis in question.axes) if question.axes else 0] += 1
        if question.bounds:
            total += _steps(row[question.column], question.bounds)
    about: dict[str, Any] = {"protects": "person" if person else "record", "records_of_each": unit, "noise": "discrete Laplace"}
    if question.what == "count":
        value, scale = noised([int(counts[0])], unit, epsilon)
        return about | {"answer": value[0], "within": within(scale), "confidence": CONFIDENCE}, None
    if question.bounds:
        return about | _mean(total, int(counts[0]), question.bounds, unit, epsilon), None
    values, scale = noised([int(one) for one in counts.ravel()], unit, epsilon)
    names = list(product(*(axis.names for axis in question.axes)))
    columns = {axis.column: [name[place] for name in names] for place, axis in enumerate(question.axes)}
    kept = [max(0, one) for one in values]
    about |= {"within": within(scale), "confidence": CONFIDENCE, "cells": len(names)}
    if question.what == "release":
        return about, pa.table({**columns, "count": pa.array(kept, pa.int64())})
    return about | {"answer": {" / ".join(name): one for name, one in zip(names, kept, strict=True)}}, None


def _rows(run: Run, records: Sequence[Artifact], question: Question, person: list[str], contributions: int,
          ) -> Iterator[dict[str, Any]]:
    """The records that are asked about; of each person the first few only, whatever the others are."""
    used: Counter[int] = Counter()
    with run.progress("Counting", "正在统计", sum(RecordReader(one).rows for one in records)) as bar:
        for one in records:
            for batch in RecordReader(one).batches(media=False, columns=[*question.columns, *person]):
                for row in batch.rows(media=False):
                    if person:
                        mark = hash(row[person[0]])
                        used[mark] += 1
                        if used[mark] > contributions:
                            continue
                    if question.where is None or text_of(row[question.where[0]]) == question.where[1]:
                        yield row
                bar.advance(len(batch))


def _steps(value: Any, bounds: tuple[float, float]) -> int:
    """A value between the bounds in whole steps from their middle; one that is no number is the middle."""
    low, high = bounds
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0
    if not math.isfinite(number):
        return 0
    share = (min(max(number, low), high) - low) / (high - low)
    return round(share * STEPS) - STEPS // 2


def _mean(total: int, count: int, bounds: tuple[float, float], unit: int, epsilon: float) -> dict[str, Any]:
    low, high = bounds
    sums, _ = noised([total], unit * STEPS // 2, epsilon / 2)
    counts, scale = noised([count], unit, epsilon / 2)
    share = sums[0] / max(1, counts[0]) / STEPS + 0.5
    return {"answer": low + min(max(share, 0.0), 1.0) * (high - low), "count": counts[0], "within_count": within(scale),
            "confidence": CONFIDENCE, "bounds": [low, high]}


def noised(values: list[int], sensitivity: int, epsilon: float) -> tuple[list[int], float]:
    """Whole numbers with noise that hides a change by ``sensitivity`` (L1) up to epsilon; and the noise's scale."""
    try:
        import opendp.prelude as dp
    except ModuleNotFoundError:
        raise MofangError("private-library") from None
    dp.enable_features("contrib")
    space: Any = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    scale = sensitivity / epsilon
    laplace: Any = dp.m.make_laplace
    mechanism = laplace(*space, scale=scale)
    while mechanism.map(d_in=sensitivity) > epsilon:  # rounded up by a bit: a little more noise
        scale = math.nextafter(scale, math.inf)
        mechanism = laplace(*space, scale=scale)
    return [int(one) for one in mechanism(values)], scale


def within(scale: float) -> int:
    """How far the noise goes at most, with the stated confidence."""
    return math.ceil(scale * math.log(1 / (1 - CONFIDENCE)))
