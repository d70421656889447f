"""Drift: how the records differ from those of an earlier snapshot, column by column and as a whole.

Population stability index with ten bins (below 0.1 stable, above 0.25 another population), Kolmogorov–Smirnov distance, and
how well a model tells old records from new ones (area under the ROC curve; 0.5 means it cannot).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.columns import class_counts
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import joined_texts, text_features

BINS = 10
CATEGORIES_MOST = 200
TOLD_APART_MOST = 4000
FOLDS = 5
LOOK, BAD = 0.1, 0.25


def drift(found: Gathered, earlier: Gathered | None) -> Check:
    """Compare with an earlier snapshot; nothing where there is none."""
    title = ("Drift against the earlier snapshot", "相对早期快照的漂移")
    if earlier is None:
        return nothing("drift", title, ("Name an earlier snapshot to compare with.", "请指定要比较的早期快照。"))
    rows = []
    for name in [*found.with_role("number"), *found.with_role("category")]:
        if name in earlier.sample:
            rows.append({"column": name, **_column(found, earlier, name)})
    if found.label and earlier.label:
        rows.append({"column": found.label, "psi": stability(class_counts(earlier), class_counts(found)), "ks": None})
    apart = None
    if found.with_role("text") and earlier.with_role("text"):
        new, old = joined_texts(found), joined_texts(earlier)
        rows.append({"column": "length of texts", **_numbers([len(one) for one in old], [len(one) for one in new])})
        apart = told_apart(old, new)
    rows.sort(key=lambda row: -(row["psi"] or 0))
    worst = max([row["psi"] or 0.0 for row in rows] + [max(0.0, (apart or 0.5) - 0.55)], default=0.0)
    gone = [name for name in earlier.roles if name not in found.roles]
    return Check(
        "drift",
        title,
        falling(worst, 0.05, 0.5),
        1.0,
        rows=rows[:20],
        facts={
            "worst_psi": round(worst, 4),
            "told_apart_auc": None if apart is None else round(apart, 4),
            "columns_gone": gone,
            "drifting": [row["column"] for row in rows if (row["psi"] or 0) >= BAD],
        },
        advice=("Train again on the new records, and look at where they come from.", "请用新记录重新训练，并查看其来源。")
        if worst >= LOOK
        else ("", ""),
    )


def _column(found: Gathered, earlier: Gathered, name: str) -> dict[str, Any]:
    if found.roles[name] == "number" and earlier.roles.get(name) == "number":
        return _numbers(earlier.sample[name], found.sample[name])
    counts = [Counter(str(one) for one in side.sample[name]) for side in (earlier, found)]
    return {"psi": stability(*counts), "ks": None}


def _numbers(old: Sequence[Any], new: Sequence[Any]) -> dict[str, Any]:
    sides = [
        np.sort(np.array([one for one in side if one is not None and math.isfinite(one)], np.float64)) for side in (old, new)
    ]
    if not len(sides[0]) or not len(sides[1]):
        return {"psi": None, "ks": None}
    edges = np.unique(np.quantile(sides[0], np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [Counter(np.searchsorted(edges, side, side="right").tolist()) for side in sides]
    for side, count in zip((old, new), counts, strict=True):
        count["missing"] = sum(one is None for one in side)
    points = np.concatenate(sides)
    shares = [np.searchsorted(side, points, side="right") / len(side) for side in sides]
    return {"psi": stability(*counts), "ks": round(float(np.abs(shares[0] - shares[1]).max()), 4)}


def stability(old: dict[Any, int], new: dict[Any, int]) -> float:
    """The population stability index of two counts by bin; an empty bin counts as half a record."""
    names = [name for name, _ in Counter({**new, **old}).most_common(CATEGORIES_MOST)]
    sums = [sum(side.values()) for side in (old, new)]
    found = 0.0
    for name in names:
        if not old.get(name) and not new.get(name):
            continue
        before, after = (max(side.get(name, 0), 0.5) / max(total, 1) for side, total in zip((old, new), sums, strict=True))
        found += (after - before) * math.log(after / before)
    return round(found, 4)


def told_apart(old: Sequence[str], new: Sequence[str]) -> float:
    """How well a linear model tells new texts from old ones, on texts it has not seen: area under the ROC curve."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    known = set(old) & set(new)  # records in both say nothing
    sides = [[one for one in side if one not in known][:TOLD_APART_MOST] for side in (old, new)]
    if min(map(len, sides)) < 2 * FOLDS:
        return 0.5
    features = text_features([*sides[0], *sides[1]])
    target = np.repeat([0, 1], [len(sides[0]), len(sides[1])])
    scores = np.zeros(len(target))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(target, target):
        scores[test] = (
            LogisticRegression(max_iter=60, tol=1e-3).fit(features[train], target[train]).decision_function(features[test])
        )
    return float(roc_auc_score(target, scores))
