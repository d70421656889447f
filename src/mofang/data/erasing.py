"""Whoever was erased from the shop does not come back with the next delivery of a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mofang.core.tombstones import Tombstones
from mofang.data.roles import ID, with_role


def erased_not(table: pa.RecordBatch, roles: dict[str, str], erased: Tombstones | None) -> npt.NDArray[np.bool_]:
    """For each row (with its id) whether it may stay: neither it nor its person was erased."""
    kept = np.ones(table.num_rows, np.bool_)
    if not erased:
        return kept
    for row, id in enumerate(table.column(ID).to_pylist()):
        kept[row] = not erased.record(id)
    for name in with_role(roles, "person"):
        for row, value in enumerate(table.column(name).to_pylist()):
            if kept[row] and value and erased.person(str(value)):
                kept[row] = False
    return kept
