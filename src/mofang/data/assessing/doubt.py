"""Labels that are probably wrong: what a model that did not see a record says of it, weighed by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning" (JAIR 2021), by the library cleanlab.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.columns import shown
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import Floats, joined_texts

FOLDS = 5
PER_CLASS_LEAST = FOLDS
ROWS_LEAST = 50
CLASSES_MOST = 200
SHOWN = 20


def label_errors(found: Gathered, sparse: Any, dense: Floats, seed: int) -> tuple[Check, list[dict[str, Any]]]:
    """The check, and every doubtful label with what it probably should be, the most doubtful first."""
    title = ("Label errors", "标签错误")
    labels = found.sample_labels
    counts = Counter(one for one in labels if one)
    usable = sorted(name for name, count in counts.items() if count >= PER_CLASS_LEAST)
    rows = [row for row, one in enumerate(labels) if one in set(usable)]
    if len(usable) < 2 or len(rows) < ROWS_LEAST or len(usable) > CLASSES_MOST:
        return nothing(
            "label_errors",
            title,
            (
                "There are too few labelled records of two classes, or too many classes.",
                "两个类别的已标注记录太少，或类别太多。",
            ),
        ), []
    if sparse is None and not dense.shape[1]:
        return nothing("label_errors", title, ("There are no inputs to judge by.", "没有可用于判断的输入。")), []
    codes = {name: number for number, name in enumerate(usable)}
    target = np.array([codes[str(labels[row])] for row in rows])
    chances = held_out_chances(sparse, dense, np.array(rows), target, seed)
    doubtful = _doubtful(target, chances)
    quality = chances[np.arange(len(rows)), target]
    names = shown(joined_texts(found)) if found.with_role("text") else found.sample_ids
    suspects = [
        {
            "id": found.sample_ids[rows[one]],
            "record": names[rows[one]],
            "label": usable[target[one]],
            "probably": usable[int(chances[one].argmax())],
            "chance_of_label": round(float(quality[one]), 4),
            "part": found.sample_parts[rows[one]],
        }
        for one in doubtful
    ]
    share = len(suspects) / len(rows)
    accuracy = float((chances.argmax(axis=1) == target).mean())
    check = Check(
        "label_errors",
        title,
        falling(share, 0.005, 0.2),
        1.5,
        rows=suspects[:SHOWN],
        facts={
            "doubtful": len(suspects),
            "looked_at": len(rows),
            "share": round(share, 4),
            "held_out_accuracy": round(accuracy, 4),
        },
        advice=(
            "Have the doubtful ones labelled again: suspects.jsonl goes into mofang label.",
            "请重新标注可疑标签：suspects.jsonl 可交给 mofang label。",
        )
        if suspects
        else ("", ""),
    )
    return check, suspects


def held_out_chances(sparse: Any, dense: Floats, rows: Any, target: Any, seed: int) -> Any:
    """Chances of each class [N, K] by a model that did not see the record (five folds)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.naive_bayes import ComplementNB

    chances = np.zeros((len(rows), int(target.max()) + 1))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, target):
        found = []
        if sparse is not None:
            for model in (LogisticRegression(C=3, max_iter=60, tol=1e-3), ComplementNB(alpha=0.3)):
                found.append(model.fit(sparse[rows[train]], target[train]).predict_proba(sparse[rows[test]]))
        if dense.shape[1]:
            found.append(_dense_chances(dense[rows[train]], target[train], dense[rows[test]], seed))
        chances[test] = np.mean(found, axis=0)
    return chances


def _dense_chances(train: Floats, target: Any, test: Floats, seed: int) -> Any:
    """A linear and a tree model together: flipped labels mislead each of them otherwise."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression

    linear = LogisticRegression(max_iter=200).fit(train, target).predict_proba(test)
    trees = ExtraTreesClassifier(120, min_samples_leaf=2, random_state=seed, n_jobs=1).fit(train, target).predict_proba(test)
    return (linear + 2 * trees) / 3


def _doubtful(target: Any, chances: Any) -> Any:
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError:
        raise MofangError("extra-missing", extra="data", package="cleanlab") from None
    return find_label_issues(
        target, chances, return_indices_ranked_by="self_confidence", filter_by="prune_by_noise_rate", n_jobs=1
    )
