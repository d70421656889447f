"""Fitted state for numbers: pairs, bins, what fills a gap, where bounds lie, which scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.featuring.workbench import Workbench, split_pair

Missing = Literal["keep", "median", "mean", "most-frequent", "constant"]
Outliers = Literal["keep", "quantile", "iqr"]
Scale = Literal["none", "standard", "min-max", "robust", "quantile", "log"]
KNOTS = 101
SIGNS = {"ratio": "/", "difference": "-", "product": "*"}
FENCE = 1.5  # of the distance between the quartiles (Tukey 1977)


def fit_pairs(bench: Workbench, how: str, given: Sequence[str]) -> None:
    """Ratios, differences or products of the named pairs, beside the columns themselves."""
    entries: list[dict[str, Any]] = []
    for text in given:
        first, second = split_pair(bench, text, SIGNS[how], f"{how}s")
        made = bench.named(f"{first}{SIGNS[how]}{second}")
        if not bench.values(first) or not bench.values(second):
            raise MofangError("feature-column-unsuited", column=first if not bench.values(first) else second, what=f"{how}s",
                              read=0, of=len(bench.ids))
        entries.append({"to": made, "how": how, "of": [first, second]})
        bench.features[made] = "number"
    if entries:
        columns = list(dict.fromkeys(name for entry in entries for name in entry["of"]))
        bench.apply("number-pairs", columns, {"makes": [entry["to"] for entry in entries], "pairs": entries})


def fit_bins(bench: Workbench, given: Sequence[str]) -> None:
    """Bins of about equally many rows (``age:5``); the bin takes the number's place."""
    entries: list[dict[str, Any]] = []
    for text in given:
        name, _, count = text.rpartition(":")
        if not name or not count.isdigit() or not 2 <= int(count) <= 1000:
            raise MofangError("feature-bins-wrong", given=text)
        values = bench.values(bench.require(name, "bins"))
        wanted = np.quantile(values, np.linspace(0, 1, int(count) + 1)[1:-1]).tolist() if values else []
        edges = sorted(set(map(float, wanted)))
        ends = [f"{edge:.6g}" for edge in edges]
        names: list[str] = [f"below {ends[0]}", *(f"{low} to {high}" for low, high in zip(ends, ends[1:], strict=False)),
                 f"from {ends[-1]}"] if edges else ["all"]
        made = bench.named(f"{name}.bin")
        entries.append({"from": name, "to": made, "edges": edges, "names": names})
        bench.replace(name, {made: "category"})
    if entries:
        state = {"makes": [entry["to"] for entry in entries], "bins": entries}
        bench.apply("number-bin", [entry["from"] for entry in entries], state)


def fit_missing(bench: Workbench, how: Missing, constant: float) -> None:
    """Fill gaps, with a column that says where one was, if the training rows have any; gaps that only come later are
    filled as well."""
    if how == "keep":
        return
    fills: list[dict[str, Any]] = []
    flags: dict[str, str] = {}
    for name in [*bench.numbers(), *bench.categories()]:
        kind = bench.features[name]
        values: list[Any] = bench.values(name) if kind == "number" else [one for one in bench.levels(name) if one]
        gaps = len(values) < len(bench.ids)
        flag = bench.named(f"{name}.missing") if gaps and kind == "number" else ""
        made = bench.ready(name)
        fills.append({"from": name, "to": made, "kind": kind, "flag": flag, "value": _filling(values, kind, how, constant)})
        bench.replace(name, {made: kind})
        flags |= {flag: "number"} if flag else {}
    makes = [one["to"] for one in fills] + list(flags)
    bench.apply("missing-fill", [one["from"] for one in fills], {"makes": makes, "fills": fills})
    bench.features |= flags


def _filling(values: Sequence[Any], kind: str, how: Missing, constant: float) -> Any:
    if kind == "category":
        counts = Counter(values)
        return min(counts, key=lambda one: (-counts[one], one)) if counts and how == "most-frequent" else "missing"
    if how == "constant" or not values:
        return constant
    if how == "most-frequent":
        counts = Counter(values)
        return min(counts, key=lambda one: (-counts[one], one))
    return float(np.median(values) if how == "median" else np.mean(values))


def fit_outliers(bench: Workbench, how: Outliers, tail: float) -> None:
    """Bounds for the numbers: the ``tail`` quantiles, or one and a half quartile distances beyond the quartiles."""
    entries = []
    for name in bench.numbers() if how != "keep" else []:
        values = bench.values(name)
        if len(set(values)) < 3:  # yes and no have no outliers
            continue
        if how == "quantile":
            low, high = np.quantile(values, [tail, 1 - tail]).tolist()
        else:
            first, third = np.quantile(values, [0.25, 0.75]).tolist()
            low, high = first - FENCE * (third - first), third + FENCE * (third - first)
        if low < high:
            entries.append({"from": name, "to": bench.ready(name), "low": float(low), "high": float(high)})
    _change(bench, "number-clip", "bounds", entries)


def fit_scales(bench: Workbench, how: Scale) -> None:
    """One scale for all numbers that take more than two values."""
    entries = []
    for name in bench.numbers() if how != "none" else []:
        values = bench.values(name)
        if len(set(values)) > 2:
            entries.append({"from": name, "to": bench.ready(name), "how": how, **_scale(np.array(values), how)})
    _change(bench, "number-scale", "scales", entries)


def _scale(values: Any, how: Scale) -> dict[str, Any]:
    if how == "log":
        return {}
    if how == "quantile":
        knots, first = np.unique(np.quantile(values, np.linspace(0, 1, KNOTS))[::-1], return_index=True)
        return {"knots": knots.tolist(), "shares": ((KNOTS - 1 - first) / (KNOTS - 1)).tolist()}
    if how == "standard":
        shift, scale = float(values.mean()), float(values.std())
    elif how == "min-max":
        shift, scale = float(values.min()), float(values.max() - values.min())
    else:
        first, shift, third = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        scale = third - first or float(values.std())
    return {"shift": shift, "scale": scale or 1.0}


def _change(bench: Workbench, operator: str, key: str, entries: list[dict[str, Any]]) -> None:
    if not entries:
        return
    state = {"makes": [entry["to"] for entry in entries], key: entries}
    bench.apply(operator, [entry["from"] for entry in entries], state)
    for entry in entries:
        bench.replace(entry["from"], {entry["to"]: "number"})
