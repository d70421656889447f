"""Diversity and coverage: which groups the records fall into, and which of them are hardly there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.columns import shown
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import Floats, joined_texts

GROUPS_MOST = 24
ROWS_LEAST = 40
RARE = 0.2  # a group with less than this share of an even one is rare
FAR = 6.0


def diversity(found: Gathered, vectors: Floats) -> tuple[Check, Any]:
    """Clusters of the embeddings: how many there would be if all were of equal size (exponential of their entropy), the rare
    ones with examples, and the records that belong to none. Also the cluster of each sampled record."""
    title = ("Diversity and coverage", "多样性与覆盖")
    if len(vectors) < ROWS_LEAST or not vectors.shape[1]:
        return nothing("diversity", title, ("There are too few records to group.", "记录太少，无法分组。")), None
    from sklearn.cluster import KMeans

    count = int(min(GROUPS_MOST, max(4, math.sqrt(len(vectors)) / 2)))
    fitted = KMeans(count, n_init=3, random_state=0).fit(vectors)
    groups = fitted.labels_
    sizes = np.bincount(groups, minlength=count)
    shares = sizes[sizes > 0] / sizes.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    distance = np.linalg.norm(vectors - fitted.cluster_centers_[groups], axis=1)
    middle = np.median(distance)
    far = distance > middle + FAR * 1.4826 * np.median(np.abs(distance - middle))
    names = _names(found)
    rare = [number for number in np.argsort(sizes) if 0 < sizes[number] < RARE * len(vectors) / count]
    rows = [
        {"group": int(number), "records": int(sizes[number]), "for_example": _examples(names, groups, distance, number)}
        for number in [*rare[:6], *np.argsort(-sizes)[:4]]
    ]
    rows += (
        [
            {
                "group": "none",
                "records": int(far.sum()),
                "for_example": " | ".join(names[one] for one in np.argsort(-distance)[:3]),
            }
        ]
        if far.any()
        else []
    )
    score = falling(1 - effective / count, 0.1, 0.95)
    return Check(
        "diversity",
        title,
        score,
        1.0,
        rows=rows,
        facts={
            "groups": count,
            "groups_if_even": round(effective, 2),
            "rare_groups": len(rare),
            "far_from_all": int(far.sum()),
        },
        advice=(
            "Collect more of the rare groups, or say in the card that the model has hardly seen them.",
            "请多收集少见的分组，或在模型卡中说明模型很少见过它们。",
        )
        if rare
        else ("", ""),
    ), groups


def _names(found: Gathered) -> list[str]:
    if found.with_role("text"):
        return shown(joined_texts(found), 60)
    columns = list(found.inputs)[:4]
    return shown(
        [", ".join(f"{name} {found.sample[name][row]}" for name in columns) for row in range(len(found.sample_ids))], 60
    )


def _examples(names: list[str], groups: Any, distance: Any, number: int) -> str:
    members = np.nonzero(groups == number)[0]
    return " | ".join(names[one] for one in members[np.argsort(distance[members])][:3])
