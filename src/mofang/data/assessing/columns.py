"""Completeness, types, ranges and sparsity of columns, and the balance of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.gather import Column, Gathered

MISSING_BAD = 0.4
SHOWN = 12
FAR = 6.0


def completeness(found: Gathered) -> Check:
    """How much of what a model would learn from is there."""
    wanted = [*found.inputs, *filter(None, [found.label])]
    shares = {name: found.columns[name].missing / max(found.columns[name].rows, 1) for name in wanted}
    worst = max(shares.values(), default=0.0)
    mean = sum(shares.values()) / max(len(shares), 1)
    rows: list[dict[str, Any]] = [
        {"column": name, "role": found.roles[name], "missing": found.columns[name].missing, "share": round(share, 4)}
        for name, share in sorted(shares.items(), key=lambda one: -one[1])
        if share
    ][:SHOWN]
    score = min(falling(mean, 0.0, 0.3), falling(worst, 0.02, 0.6))
    bad = [row["column"] for row in rows if row["share"] >= MISSING_BAD]
    advice = ("", "")
    if bad:
        advice = (
            (
                f"Leave out {', '.join(bad)}, or fill it (mofang features --missing); a value missing so often may itself tell "
                "something."
            ),
            f"可去掉 {'、'.join(bad)}，或填补（mofang features --missing）；缺失如此之多本身也可能有含义。",
        )
    return Check(
        "completeness",
        ("Completeness", "完整性"),
        score,
        1.5,
        facts={"missing_share": round(mean, 4), "worst_share": round(worst, 4), "mostly_missing": bad},
        rows=rows,
        advice=advice,
    )


def types(found: Gathered) -> Check:
    """Columns whose values are not all of one type: numbers among texts, infinite numbers, one single value."""
    rows = []
    for name in [*found.inputs, *found.with_role("other", "time", "group")]:
        column = found.columns[name]
        problem = _problem(column)
        if problem:
            rows.append({"column": name, "role": column.role, "problem": problem})
    share = len([row for row in rows if row["column"] in found.inputs]) / max(len(found.inputs), 1)
    return Check(
        "types", ("Types", "类型"), falling(share, 0.0, 1.0), 0.7, facts={"columns_with_problems": len(rows)}, rows=rows[:SHOWN]
    )


def _problem(column: Column) -> str:
    if column.filled == 0:
        return "empty"
    if column.infinite:
        return f"{column.infinite} infinite numbers"
    if column.role not in ("text", "image", "audio") and column.distinct == 1 and column.rows > 1:
        return "one single value"
    share = column.numbers / column.filled
    if column.role in ("category", "other") and 0.05 < share < 0.95 and column.filled >= 20:
        return f"{share:.0%} numbers among texts"
    return ""


def ranges(found: Gathered) -> Check:
    """The numbers' ranges, and how many lie far outside the rest (robust z-score above 6, Iglewicz and Hoaglin 1993)."""
    names = found.with_role("number")
    if not names:
        return nothing("outliers", ("Numbers far out", "数值离群"), ("There are no number columns.", "没有数值列。"))
    rows, shares = [], []
    for name in names:
        column = found.columns[name]
        values = np.array([one for one in found.sample[name] if one is not None and math.isfinite(one)])
        far = far_out(values)
        shares.append(float(far.mean()) if len(values) else 0.0)
        quantiles = np.quantile(values, [0.01, 0.5, 0.99]) if len(values) else [math.nan] * 3
        rows.append(
            {
                "column": name,
                "low": _short(column.low),
                "p1": _short(quantiles[0]),
                "middle": _short(quantiles[1]),
                "p99": _short(quantiles[2]),
                "high": _short(column.high),
                "far_out": int(far.sum()),
                "zeros": round(column.zeros / max(column.filled, 1), 3),
            }
        )
    order = np.argsort([-one for one in shares])
    worst = max(shares)
    return Check(
        "outliers",
        ("Numbers far out", "数值离群"),
        falling(worst, 0.005, 0.1),
        0.7,
        facts={"far_out_share": {name: round(share, 5) for name, share in zip(names, shares, strict=True) if share}},
        rows=[rows[place] for place in order][:SHOWN],
        advice=(
            "Look at them; cap them with mofang features --outliers winsorise.",
            "请查看这些数值；可用 mofang features --outliers winsorise 截断。",
        )
        if worst > 0.01
        else ("", ""),
    )


def far_out(values: Any) -> Any:
    """Which numbers lie more than six robust standard deviations from the middle; by logarithms where all are positive."""
    if len(values) < 20:
        return np.zeros(len(values), np.bool_)
    found = []
    for scaled in [values, np.log(values)] if (values > 0).all() else [values]:
        middle = np.median(scaled)
        spread = np.median(np.abs(scaled - middle)) * 1.4826 or np.std(scaled)
        found.append(np.abs(scaled - middle) > FAR * (spread or 1.0))
    return np.logical_and.reduce(found)


def sparsity(found: Gathered) -> Check:
    """How many cells say nothing: missing, zero, or one of very many categories."""
    names = found.with_role("number", "category")
    if not names:
        return nothing("sparsity", ("Sparsity", "稀疏性"), ("There are no table columns.", "没有表格列。"))
    empty = {
        name: (found.columns[name].missing + found.columns[name].zeros) / max(found.columns[name].rows, 1) for name in names
    }
    wide = {
        name: found.columns[name].distinct
        for name in found.with_role("category")
        if found.columns[name].distinct > 0.3 * found.columns[name].filled and found.columns[name].filled > 50
    }
    mean = sum(empty.values()) / len(empty)
    rows = [
        {"column": name, "empty_or_zero": round(share, 3), "distinct": found.columns[name].distinct}
        for name, share in sorted(empty.items(), key=lambda one: -one[1])
        if share > 0.2 or name in wide
    ][:SHOWN]
    return Check(
        "sparsity",
        ("Sparsity", "稀疏性"),
        falling(mean + len(wide) / len(names), 0.2, 1.0),
        0.5,
        facts={"empty_or_zero_share": round(mean, 4), "nearly_unique_categories": list(wide)},
        rows=rows,
    )


def balance(found: Gathered) -> Check:
    """How even the classes are: entropy of their shares against that of equal ones."""
    title = ("Balance of classes", "类别均衡")
    counts = class_counts(found)
    if len(counts) < 2:
        return nothing("balance", title, ("There are no classes.", "没有类别。"))
    values = np.array(list(counts.values()), np.float64)
    shares = values / values.sum()
    even = float(-(shares * np.log(shares)).sum() / math.log(len(shares)))
    rare = [name for name, count in counts.items() if count < 20]
    rows = [
        {"class": name, "records": count, "share": round(count / values.sum(), 4)}
        for name, count in sorted(counts.items(), key=lambda one: -one[1])
    ][:SHOWN]
    advice = ("", "")
    if rare:
        advice = (
            f"Fewer than 20 records: {', '.join(rare[:8])}. Label more (mofang label) or join classes (mofang clean --labels).",
            f"不足 20 条：{'、'.join(rare[:8])}。请多标注（mofang label），或合并类别（mofang clean --labels）。",
        )
    elif even < 0.8:
        advice = (
            "Judge by macro-F1, and consider mofang augment for the small classes.",
            "请以宏平均 F1 评判；小类别可用 mofang augment 扩充。",
        )
    score = min(falling(1 - even, 0.1, 0.9), falling(len(rare) / len(counts), 0.0, 1.0))
    return Check(
        "balance",
        title,
        score,
        1.0,
        facts={
            "classes": len(counts),
            "evenness": round(even, 4),
            "rare": rare,
            "largest_to_smallest": round(float(values.max() / values.min()), 1),
        },
        rows=rows,
        advice=advice,
    )


def class_counts(found: Gathered) -> dict[str, int]:
    """Records of each class; those without a label are not counted."""
    counts = np.bincount(found.class_of[found.class_of >= 0], minlength=len(found.classes))
    return {name: int(counts[number]) for number, name in enumerate(found.classes) if counts[number]}


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def shown(values: Sequence[Any], chars: int = 120) -> list[str]:
    """Values cut short for a table."""
    return [
        text if len(text) <= chars else text[:chars] + "…"
        for text in (" ".join(str(one if one is not None else "").split()) for one in values)
    ]
