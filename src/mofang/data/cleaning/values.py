"""Which operators a cleaning applies to which columns, and what the columns are afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mofang.data.operators import default_operators

Spec = dict[str, Any]


def cleaning_operators(
    roles: Mapping[str, str],
    *,
    html: str,
    layout: str,
    units: Sequence[str],
    dates: Sequence[str],
    noise: bool,
    mask: bool,
) -> list[Spec]:
    """The specs of the operators, in the order in which they run when records are cleaned and on every served request."""
    return default_operators(roles)


def schema_after(schema: pa.Schema, specs: Sequence[Spec]) -> pa.Schema:
    """The columns after these operators."""
    return schema
