"""Columns that alone tell nearly as much as the whole model: often the label written down twice, or known only afterwards."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.core.metrics import Ints, accuracy, confusion, macro_f1
from mofang.data.records import RecordReader, Records
from mofang.engine.arrays import Array

ROWS_LEAST = 60
ROWS_MOST = 50_000
FOLDS = 5
BINS = 32
HAIR = 0.01        # of the headline: so close to the whole model is "a hair"
GAIN_LEAST = 0.6   # of the way from a constant answer to always being right: a weak model suspects nothing
PERFECT = 0.99


def alone(records: Records, inputs: Sequence[dict[str, Any]], truth: Ints, classes: int, headline: str) -> dict[str, float]:
    """How well each number or category alone tells the class of these records: the headline metric of the commonest class
    for each value (numbers in 32 steps of equal size), each fifth of the records told by the other four.

    Empty for other inputs and for fewer than 60 records.
    """
    names = [one["name"] for one in inputs if one["role"] in ("number", "category")]
    if len(names) < len(inputs) or len(truth) < ROWS_LEAST:
        return {}
    truth = truth[:ROWS_MOST]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    taken = 0
    for batch in RecordReader(records).batches(media=False, columns=names):
        for name in names:
            columns[name] += batch.column(name)
        taken += len(batch)
        if taken >= ROWS_MOST:
            break
    roles = {one["name"]: one["role"] for one in inputs}
    return {
        name: round(_score(_steps(values[: len(truth)], roles[name] == "number"), truth, classes, headline), 6)
        for name, values in columns.items()
    }


def suspects(found: dict[str, float], score: float, constant: float) -> list[str]:
    """The columns that come within a hair of the whole model, the closest first, where that is no small feat."""
    if score - constant < GAIN_LEAST * (1 - constant) or (len(found) == 1 and score < PERFECT):
        return []
    near = [name for name, value in found.items() if value >= score - HAIR or (score >= PERFECT and value >= PERFECT - HAIR)]
    return sorted(near, key=lambda name: -found[name])


def _steps(values: list[Any], number: bool) -> Ints:
    """The values as small whole numbers: steps of equal size for numbers, one for each category; 0 is missing."""
    if not number:
        places: dict[Any, int] = {None: 0}
        return np.array([places.setdefault(value, len(places)) for value in values], dtype=np.int64)
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return np.zeros(len(values), dtype=np.int64)
    distinct = np.unique(known)
    edges = distinct if len(distinct) <= BINS else np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, "right") + 1)


def _score(steps: Ints, truth: Ints, classes: int, headline: str) -> float:
    """The headline of telling each fold's classes by the commonest class that its step has in the other folds."""
    fold = np.array([zlib.crc32(b"%d" % row) % FOLDS for row in range(len(truth))])
    size = int(steps.max(initial=0)) + 1
    said: Array = np.empty(len(truth), dtype=np.int64)
    for one in range(FOLDS):
        here = fold == one
        counts = np.bincount(steps[~here] * classes + truth[~here], minlength=size * classes).reshape(size, classes)
        common = np.bincount(truth[~here], minlength=classes)
        counts[counts.sum(axis=1) == 0] = common
        said[here] = counts.argmax(axis=1)[steps[here]]
    table = confusion(truth, said, classes)
    return macro_f1(table) if headline == "f1_macro" else accuracy(table)
