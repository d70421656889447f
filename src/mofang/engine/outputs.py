"""What a graph gives, by name, one row for each record: run, joined, compared, and written down.

An encoder may cut a record into several rows (windows of a long text, words of tokens); it then has ``gather``, which
makes one row for each record of the graph's rows again. Arrays whose name begins with ``@`` are for ``gather`` only
and never reach the graph. Rows of different length are padded with zeros behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder
from mofang.engine.runtimes import Runtime

BESIDE = "@"
MASKS = ("weights", "attention_mask")  # arrays that say how far each row is used; the last one tells what a row costs
ROWS_MIN, ROWS_AT_ONCE = 32, 16


@runtime_checkable
class Gathers(Protocol):
    """An encoder whose rows are not records."""

    def gather(self, arrays: Mapping[str, Array], outputs: Mapping[str, Array]) -> Arrays:
        """One row for each record, of the graph's outputs for ``arrays``."""
        ...


def run_graph(runtime: Runtime, encoder: Encoder, arrays: Arrays) -> Arrays:
    """The outputs of a graph for an encoder's arrays, one row for each record; many padded rows go in order of length."""
    found = by_length(runtime.run, graph_arrays(arrays))
    return encoder.gather(arrays, found) if isinstance(encoder, Gathers) else found


def by_length(run: Callable[[Arrays], Arrays], arrays: Arrays) -> Arrays:
    """What ``run`` gives for arrays [B, …]: more than 32 rows that have a mask go sorted by length, 16 at a time and no wider
    than the longest of these, so that the short ones do not pay for the long."""
    rows = len(next(iter(arrays.values())))
    used = {name: _used(arrays[name]) for name in MASKS if name in arrays}
    if rows <= ROWS_MIN or not used:
        return run(arrays)
    widths = {arrays[name].shape[1]: lengths for name, lengths in used.items()}
    order = np.argsort(next(reversed(used.values())), kind="stable")
    found, places = list[Arrays](), [order[begin:begin + ROWS_AT_ONCE] for begin in range(0, rows, ROWS_AT_ONCE)]
    for place in places:
        found.append(run({name: _cut(array, place, widths) for name, array in arrays.items()}))
    back = np.argsort(np.concatenate(places), kind="stable")
    return {name: array[back] for name, array in stacked(found).items()}


def _used(mask: Array) -> Array:
    """How far each row of a mask is used, at least 1."""
    there = mask != 0
    return np.where(there.any(axis=1), mask.shape[1] - np.argmax(there[:, ::-1], axis=1), 1)


def _cut(array: Array, place: Array, widths: Mapping[int, Array]) -> Array:
    cut = array[place]
    if array.ndim > 1 and array.shape[1] in widths:
        cut = cut[:, : int(widths[array.shape[1]][place].max())]
    return np.ascontiguousarray(cut)


def graph_arrays(arrays: Mapping[str, Array]) -> Arrays:
    """The arrays that the graph itself reads."""
    return {name: array for name, array in arrays.items() if not name.startswith(BESIDE)}


def stacked(found: Sequence[Mapping[str, Array]]) -> Arrays:
    """Outputs of several runs end to end; rows of different length are padded with zeros."""
    if len(found) == 1:
        return dict(found[0])
    return {name: _joined([each[name] for each in found]) for name in found[0]}


def rows_of(outputs: Mapping[str, Array], row: int) -> dict[str, Any]:
    """One row as JSON; of rows of different length ([B, L, K]) the padding is left off."""
    return {name: _trimmed(array[row]).tolist() for name, array in outputs.items()}


def read_rows(rows: Sequence[Mapping[str, Any]]) -> Arrays:
    """What ``rows_of`` wrote for several rows."""
    arrays = [{name: np.asarray(value, np.float32)[None] for name, value in row.items()} for row in rows]
    return stacked(arrays)


def widened(array: Array, shape: Sequence[int]) -> Array:
    """The array with zeros behind it, up to this shape."""
    if tuple(shape) == array.shape:
        return array
    made = np.zeros(shape, array.dtype)
    made[tuple(slice(length) for length in array.shape)] = array
    return made


def _joined(arrays: Sequence[Array]) -> Array:
    shape = [max(each.shape[axis] for each in arrays) for axis in range(1, arrays[0].ndim)]
    return np.concatenate([widened(each, (len(each), *shape)) for each in arrays])


def _trimmed(row: Array) -> Array:
    if row.ndim < 2:
        return row
    used = np.flatnonzero(row.reshape(len(row), -1).any(axis=1))
    return row[: int(used[-1]) + 1 if len(used) else 1]
