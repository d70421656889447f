"""Records that say the same: within a part, across the parts of a snapshot (leakage), and with different labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mofang.data.assessing.check import Check, falling, nothing
from mofang.data.assessing.gather import Gathered
from mofang.data.assessing.vectors import joined_texts
from mofang.data.cleaning.duplicates import SIGNATURE, Decisions
from mofang.data.cleaning.near import NearCopies, Signer

NEAR = 0.8


def duplicates(found: Gathered, near: npt.NDArray[np.int64]) -> Check:
    """Exact copies over all records, and near copies in the sample."""
    order = np.argsort(found.content, kind="stable")
    keys = found.content[order]
    again = np.zeros(len(keys), np.bool_)
    again[1:] = keys[1:] == keys[:-1]
    exact = int(again.sum())
    conflicting = _conflicting(found, order)
    near_share = len(np.unique(near)) / max(len(found.sample_ids), 1)
    share = exact / max(found.rows, 1)
    rows = [
        {"what": "exact copies", "records": exact, "share": round(share, 4)},
        {
            "what": "records of which a copy has another label",
            "records": conflicting,
            "share": round(conflicting / max(found.rows, 1), 4),
        },
        {"what": "near copies (in the sample)", "records": len(np.unique(near)), "share": round(near_share, 4)},
    ]
    table = not found.with_role("text", "image", "audio")
    score = min(
        falling(share, 0.0 if not table else 0.2, 0.2 if not table else 1.0),
        falling(conflicting / max(found.rows, 1), 0.0, 0.1),
        falling(near_share, 0.02, 0.5) if not table else 100.0,
    )
    advice = (
        ("Run mofang clean: it keeps one of each and says which.", "请运行 mofang clean：每组只保留一条并说明是哪条。")
        if score < 85
        else ("", "")
    )
    return Check(
        "duplicates",
        ("Duplicates", "重复"),
        score,
        1.0,
        rows=rows,
        advice=advice,
        facts={"exact": exact, "conflicting": conflicting, "near_in_sample": len(np.unique(near))},
    )


def _conflicting(found: Gathered, order: npt.NDArray[np.int64]) -> int:
    """How many records have a copy with another label."""
    labelled = order[found.class_of[order] >= 0]
    if not len(labelled):
        return 0
    keys, classes = found.content[labelled], found.class_of[labelled]
    starts = np.nonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))[0]
    differ = np.maximum.reduceat(classes, starts) != np.minimum.reduceat(classes, starts)
    sizes = np.diff(np.append(starts, len(keys)))
    return int(sizes[differ].sum())


def leakage(found: Gathered, near: npt.NDArray[np.int64]) -> Check:
    """Records of the validation and test part of which the training part has a copy, exact (all) or near (in the sample)."""
    title = ("Leakage between parts", "划分之间的泄漏")
    if "train" not in found.parts or len(found.parts) < 2:
        return nothing("leakage", title, ("There is no split yet: make a snapshot.", "尚未划分：请先建立快照。"))
    train = list(found.parts).index("train")
    held = found.part_of != train
    known = np.isin(found.content[held], found.content[~held])
    if not found.with_role("text", "image", "audio"):
        known &= False  # in a table of few categories most rows have equals; they leak nothing
    parts = np.array([part == "train" for part in found.sample_parts], np.bool_)
    crossing = near[parts[near[:, 0]] != parts[near[:, 1]]] if len(near) else near
    crossing_held = {int(one) for pair in crossing for one in pair if not parts[one]}
    share = float(known.mean()) if len(known) else 0.0
    near_share = len(crossing_held) / max(int((~parts).sum()), 1)
    texts = joined_texts(found) if found.with_role("text") else found.sample_ids
    rows = [
        {"held_out": texts[b if parts[a] else a][:80], "in_training": texts[a if parts[a] else b][:80]} for a, b in crossing[:8]
    ]
    return Check(
        "leakage",
        title,
        min(falling(share, 0.0, 0.05), falling(near_share, 0.005, 0.1)),
        1.5,
        rows=rows,
        facts={"exact_in_training": int(known.sum()), "held_out": int(held.sum()), "near_in_sample": len(crossing_held)},
        advice=(
            "Test figures will be too good. Clean first (mofang clean), then snapshot again.",
            "测试结果会偏高。请先 mofang clean，再重新建立快照。",
        )
        if share > 0 or near_share > 0.005
        else ("", ""),
    )


def near_pairs(found: Gathered, scratch: Path) -> npt.NDArray[np.int64]:
    """Pairs of rows of the sample whose texts share most of their characters' shingles [N, 2]."""
    if not found.with_role("text") or not found.sample_ids:
        return np.zeros((0, 2), np.int64)
    texts = joined_texts(found)
    near = NearCopies(scratch / "near", NEAR, words=False)
    near.add(*Signer(False).signed(texts, None))

    def texts_of(rows: npt.NDArray[np.int64]) -> Iterator[list[str]]:
        yield [texts[row] for row in rows]

    return near.pairs(np.zeros(len(texts), SIGNATURE), Decisions(scratch / "decisions", len(texts)), texts_of)
