"""Agreement between people, in the field's own measures; missing answers are no answers, not disagreement.

Cohen's kappa (Cohen 1960, weighted 1968), Fleiss' kappa (1971), Krippendorff's alpha (2004, by value counts), and for marks
the F1 of spans and boxes. All are 1 for perfect agreement and about 0 for chance (F1 has no chance level).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Level = Literal["nominal", "ordinal", "interval"]
Codes = npt.NDArray[np.int64]
MISSING = -1


def cohen(first: Codes, second: Codes, classes: int, weights: Literal["", "linear", "quadratic"] = "") -> float:
    """Kappa of two people over the items both answered (codes from 0; -1 is missing). NaN where chance is everything."""
    both = (first >= 0) & (second >= 0)
    if not both.any():
        return float("nan")
    table = np.zeros((classes, classes))
    np.add.at(table, (first[both], second[both]), 1)
    total = table.sum()
    expected = np.outer(table.sum(1), table.sum(0)) / total
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(float)
    cost = {"": (apart > 0).astype(float), "linear": apart, "quadratic": apart**2}[weights]
    by_chance = float((cost * expected).sum())
    return float("nan") if by_chance == 0 else 1 - float((cost * table).sum()) / by_chance


def fleiss(counts: npt.NDArray[Any]) -> float:
    """Kappa of items by classes, each row the number of people who chose each class; every item the same number.

    Items with another number than the commonest are left out by the caller. NaN where all chose one class.
    """
    people = int(counts[0].sum())
    assert people > 1 and np.all(counts.sum(1) == people), "every item has the same number of answers"
    agreed = ((counts * (counts - 1)).sum(1) / (people * (people - 1))).mean()
    shares = counts.sum(0) / counts.sum()
    chance = float((shares**2).sum())
    return float("nan") if chance == 1 else float((agreed - chance) / (1 - chance))


def alpha(counts: npt.NDArray[Any], values: npt.NDArray[Any] | None = None, level: Level = "nominal") -> float:
    """Krippendorff's alpha from items by values: how many people gave each value; items with one answer say nothing.

    ``values`` are the numbers behind the columns, needed for interval (and their order for ordinal). NaN without two
    answers to compare, and where only one value was ever given: then nothing can be said about chance.
    """
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        return float("nan")
    people = counts.sum(1)
    coincidence = (counts.T / (people - 1)) @ counts - np.diag((counts / (people - 1)[:, None]).sum(0))
    margins = coincidence.sum(1)
    total = margins.sum()
    apart = _distance(margins, values, level)
    seen = float((coincidence * apart).sum())
    expected = float((np.outer(margins, margins) * apart).sum()) / (total - 1)
    return float("nan") if expected == 0 else 1 - seen / expected


def _distance(margins: npt.NDArray[Any], values: npt.NDArray[Any] | None, level: Level) -> npt.NDArray[Any]:
    count = len(margins)
    if level == "nominal":
        return 1.0 - np.eye(count)
    if level == "interval":
        assert values is not None
        number = np.asarray(values, dtype=np.float64)
        return np.asarray(np.subtract.outer(number, number) ** 2)
    sums = np.concatenate([[0.0], np.cumsum(margins)])
    low = np.minimum.outer(np.arange(count), np.arange(count))
    high = np.maximum.outer(np.arange(count), np.arange(count))
    between = sums[high + 1] - sums[low] - (margins[low] + margins[high]) / 2
    return np.where(low == high, 0.0, between**2)


def value_counts(items: Codes, values: Codes, classes: int) -> npt.NDArray[np.int64]:
    """Items by values from one row an answer."""
    size = int(items.max(initial=-1)) + 1
    return np.bincount(items * classes + values, minlength=size * classes).reshape(size, classes)


def overlap_f1(first: list[dict[str, Any]], second: list[dict[str, Any]], kind: str, least: float = 0.5) -> tuple[int, int, int]:
    """Matched marks, and how many there are on each side: the parts of an F1. Spans match exactly, boxes and polygons of one
    class where their overlap (intersection over union) is at least ``least``; each mark is matched once, best first."""
    if kind == "spans":
        one = {(m["start"], m["end"], m["label"]) for m in first}
        two = {(m["start"], m["end"], m["label"]) for m in second}
        return len(one & two), len(one), len(two)
    pairs = [(ratio(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second) if a["label"] == b["label"]]
    taken_one: set[int] = set()
    taken_two: set[int] = set()
    for share, i, j in sorted(pairs, key=lambda one: (-one[0], one[1], one[2])):
        if share >= least and i not in taken_one and j not in taken_two:
            taken_one.add(i)
            taken_two.add(j)
    return len(taken_one), len(first), len(second)


def f1(matched: int, one: int, two: int) -> float:
    """F1 of two sets of marks; two empty ones agree."""
    return 1.0 if one + two == 0 else 2 * matched / (one + two)


def ratio(one: dict[str, Any], two: dict[str, Any]) -> float:
    """Intersection over union of two spans, two boxes or two polygons."""
    if "start" in one:
        shared = min(one["end"], two["end"]) - max(one["start"], two["start"])
        return float(max(0, shared) / (one["end"] - one["start"] + two["end"] - two["start"] - max(0, shared)))
    if "points" in one:
        return _polygons(one["points"], two["points"])
    wide = min(one["x"] + one["width"], two["x"] + two["width"]) - max(one["x"], two["x"])
    high = min(one["y"] + one["height"], two["y"] + two["height"]) - max(one["y"], two["y"])
    shared = max(0.0, wide) * max(0.0, high)
    return float(shared / (one["width"] * one["height"] + two["width"] * two["height"] - shared))


GRID = 128


def _polygons(one: list[list[float]], two: list[list[float]]) -> float:
    """Overlap of two polygons on a grid of 128 by 128 over both: within about a hundredth of the exact ratio."""
    a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
    low, high = np.minimum(a.min(0), b.min(0)), np.maximum(a.max(0), b.max(0))
    step = np.maximum(high - low, 1e-9) / GRID
    xs = low[0] + (np.arange(GRID) + 0.5) * step[0]
    ys = low[1] + (np.arange(GRID) + 0.5) * step[1]
    inside_a, inside_b = _inside(a, xs, ys), _inside(b, xs, ys)
    union = int((inside_a | inside_b).sum())
    return float((inside_a & inside_b).sum() / union) if union else 0.0


def _inside(points: npt.NDArray[Any], xs: npt.NDArray[Any], ys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which points of a grid lie in a polygon, by counting crossings."""
    found = np.zeros((len(ys), len(xs)), np.bool_)
    following = np.roll(points, -1, axis=0)
    for (x1, y1), (x2, y2) in zip(points, following, strict=True):
        if y1 == y2:
            continue
        rows = (y1 > ys) != (y2 > ys)
        cross = x1 + (ys[rows] - y1) * (x2 - x1) / (y2 - y1)
        found[rows] ^= xs[None, :] < cross[:, None]
    return found
