"""The label column as arrays: what a snapshot wrote for each target, read for learning and for judging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from mofang.data.snapshots.targets import labels_of
from mofang.engine.arrays import Array


def read_targets(target: str, cells: Sequence[str], labels: Sequence[str]) -> Any:
    """The cells of a snapshot's label column; a label that is not among ``labels`` raises KeyError.

    ``class`` int64 [N]; ``classes`` float32 [N, K] of 0 and 1; ``number`` float32 [N]; ``spans`` a list of
    [(start, end, place of the label)]; ``answer`` a list of (start, end) or (-1, -1); ``text`` and ``positive`` a list.
    """
    places = {label: place for place, label in enumerate(labels)}
    if target == "class":
        return np.array([places[cell] for cell in cells], dtype=np.int64)
    if target == "number":
        return np.array([float(cell) for cell in cells], dtype=np.float32)
    if target == "classes":
        return _several(cells, places)
    if target == "spans":
        return [[(one["start"], one["end"], places[one["label"]]) for one in orjson.loads(cell)] for cell in cells]
    if target == "answer":
        return [_place(orjson.loads(cell)) for cell in cells]
    return list(cells)


def labels_named(target: str, cells: Sequence[str]) -> set[str]:
    """All labels that these cells name."""
    return {label for cell in cells for label in labels_of(target, str(cell))}


def _several(cells: Sequence[str], places: dict[str, int]) -> Array:
    made = np.zeros((len(cells), len(places)), np.float32)
    for row, cell in enumerate(cells):
        made[row, [places[label] for label in orjson.loads(cell)]] = 1
    return made


def _place(answer: dict[str, Any]) -> tuple[int, int]:
    return (answer["start"], answer["start"] + len(answer["text"])) if answer["text"] else (-1, -1)
