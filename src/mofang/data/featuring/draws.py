"""What made-up requests are drawn from: ranges and levels of the raw columns, never rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mofang.data.featuring.workbench import Workbench
from mofang.data.operators.dates import date_of, days_of
from mofang.data.operators.quantities import quantity_of

LEVELS = 50


def draws_of(bench: Workbench, inputs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """For each raw input what values it may take: the 1st to 99th percentile, or its commonest levels."""
    specs = {entry["from"]: (spec["name"], entry) for spec in bench.specs for entry in spec["state"].get(
        {"date-parts": "dates", "unit-repair": "quantities"}.get(spec["name"], ""), [])}
    found = []
    for one in inputs:
        name = one["name"]
        operator, entry = specs.get(name, ("", {}))
        drawn: dict[str, Any] = {"name": name}
        if operator == "date-parts":
            moments = [date_of(value, entry["order"]) for value in bench.columns[name]]
            drawn |= {"kind": "date"} | _range([days_of(moment) for moment in moments if moment is not None])
        elif operator == "unit-repair":
            amounts = [quantity_of(value, entry["decimal"]) for value in bench.columns[name]]
            drawn |= {"kind": "quantity", "unit": entry["kind"]} | _range([one[0] for one in amounts if one is not None])
        elif one["role"] == "number":
            drawn |= {"kind": "number"} | _range(bench.values(name))
        else:
            counts = Counter(bench.levels(name))
            drawn |= {"kind": "category", "levels": sorted(counts, key=lambda key: (-counts[key], key))[:LEVELS]}
        found.append(drawn)
    return found


def _range(values: Sequence[float]) -> dict[str, float]:
    low, high = np.percentile(values, [1, 99]).tolist() if values else (0.0, 1.0)
    return {"low": float(low), "high": float(high)}
