"""Numbers that stand far from the others of their column: the distance from the median in robust standard deviations.

The scale is 1.4826 times the median of the distances from the median (Hampel 1974). Both are taken from at most a million
records, chosen by their ids, so that memory is bounded and the order of the records has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SAMPLE_ROWS = 1_000_000
SCALE = 1.4826

Table = Callable[[int, list[str]], pa.Table]


def far_rows(
    pieces: int, table: Table, names: Sequence[str], distance: float, ids: npt.NDArray[np.uint64]
) -> Iterator[npt.NDArray[np.bool_]]:
    """For each piece which rows hold a number further than ``distance`` from the median of its column."""
    bounds = _bounds(pieces, table, names, distance, ids)
    for piece in range(pieces):
        values = table(piece, list(names))
        far = np.zeros(values.num_rows, np.bool_)
        for name in names:
            column = _numbers(values, name)
            low, high = bounds[name]
            far |= (column < low) | (column > high)
        yield far


def _bounds(
    pieces: int, table: Table, names: Sequence[str], distance: float, ids: npt.NDArray[np.uint64]
) -> dict[str, tuple[float, float]]:
    taken: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in names}
    limit = np.uint64(min(1.0, SAMPLE_ROWS / max(len(ids), 1)) * float(np.iinfo(np.uint64).max >> 1))
    first = 0
    for piece in range(pieces):
        values = table(piece, list(names))
        chosen = (ids[first : first + values.num_rows] >> np.uint64(1)) <= limit
        for name in names:
            taken[name].append(_numbers(values, name)[chosen])
        first += values.num_rows
    found = {}
    for name, columns in taken.items():
        column = np.concatenate(columns)
        column = column[~np.isnan(column)]
        middle = float(np.median(column)) if len(column) else 0.0
        spread = SCALE * float(np.median(np.abs(column - middle))) if len(column) else 0.0
        found[name] = (middle - distance * spread, middle + distance * spread) if spread else (-np.inf, np.inf)
    return found


def _numbers(values: pa.Table, name: str) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = values.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return found
