"""What a graph gives, by name, one row for each record: run, joined, compared, and written down.

An encoder may cut a record into several rows (windows of a long text, words of tokens); it then has ``gather``, which
makes one row for each record of the graph's rows again. Arrays whose name begins with ``@`` are for ``gather`` only
and never reach the graph. Rows of different length are padded with zeros behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder
from mofang.engine.runtimes import Runtime

BESIDE = "@"


@runtime_checkable
class Gathers(Protocol):
    """An encoder whose rows are not records."""

    def gather(self, arrays: Mapping[str, Array], outputs: Mapping[str, Array]) -> Arrays:
        """One row for each record, of the graph's outputs for ``arrays``."""
        ...


def run_graph(runtime: Runtime, encoder: Encoder, arrays: Arrays) -> Arrays:
    """The outputs of a graph for an encoder's arrays, one row for each record."""
    found = runtime.run(graph_arrays(arrays))
    return encoder.gather(arrays, found) if isinstance(encoder, Gathers) else found


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
