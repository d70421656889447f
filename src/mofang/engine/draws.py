"""Made-up requests for a model whose encoder reads features: the raw columns are drawn, so that the operators have work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from mofang.engine.encode import Record

MISSING_SHARE = 0.1
UNKNOWN = "something else"


def draw_raw(draws: Sequence[Mapping[str, Any]], rng: np.random.Generator, count: int) -> list[Record]:
    """Records of raw columns: numbers, dates and quantities between the usual ends, levels known and unknown, one value in
    ten missing."""
    return [{one["name"]: _drawn(one, rng) for one in draws} for _ in range(count)]


def _drawn(one: Mapping[str, Any], rng: np.random.Generator) -> Any:
    if one["kind"] == "category":
        levels = (*one["levels"], UNKNOWN)
        return levels[int(rng.integers(0, len(levels)))] or None
    value = round(float(rng.uniform(one["low"], one["high"])), 6)
    if rng.random() < MISSING_SHARE:
        return None
    if one["kind"] == "date":
        return (datetime(1970, 1, 1) + timedelta(days=int(value))).date().isoformat()
    return f"{value:g} {one['unit']}".strip() if one["kind"] == "quantity" else value
