"""Fitted state for categories: crosses, rare levels, and encodings as numbers.

An encoding by the labels (target encoding, Micci-Barreca 2001) would let a training row see its own label; so the
training rows get theirs from the other folds (cross-fitting), and only rows that were not fitted on get the state's own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.featuring.workbench import Workbench
from mofang.data.operators.categories import BETWEEN

Encode = Literal["auto", "keep", "one-hot", "frequency", "target"]
MANY_LEVELS = 50  # as many as the model's own encoder lists
LEVELS_MOST = 20_000
CLASSES_MOST = 10
FOLDS = 5
SMOOTHING = 10.0  # rows that the average over all labels counts for


def fit_crosses(bench: Workbench, given: Sequence[str], buckets: int, levels: int) -> None:
    """Categories of several columns (``city*plan``), listed up to ``levels`` or hashed into ``buckets``."""
    entries: list[dict[str, Any]] = []
    for text in given:
        names = [bench.require(one.strip(), "crosses") for one in text.split("*")]
        if len(names) < 2:
            raise MofangError("feature-pair-wrong", given=text, sign="*", what="crosses")
        joined = Counter(BETWEEN.join(row) for row in zip(*(bench.levels(name) for name in names), strict=True))
        listed = sorted(joined, key=lambda one: (-joined[one], one))[:levels]
        made = bench.named(BETWEEN.join(names))
        entries.append({"to": made, "of": names, "levels": [] if buckets else listed, "buckets": buckets})
        bench.features[made] = "category"
    if entries:
        columns = list(dict.fromkeys(name for entry in entries for name in entry["of"]))
        bench.apply("category-cross", columns, {"makes": [entry["to"] for entry in entries], "crosses": entries})


def fit_rare(bench: Workbench, share: float) -> None:
    """Levels with less than this share of the training rows become "other"."""
    entries: list[dict[str, Any]] = []
    for name in bench.categories() if share else []:
        counts = Counter(one for one in bench.levels(name) if one)
        kept = sorted(one for one, count in counts.items() if count >= share * len(bench.ids))
        if len(kept) < len(counts):
            entries.append({"from": name, "to": bench.ready(name), "levels": kept[:LEVELS_MOST]})
    if entries:
        state = {"makes": [entry["to"] for entry in entries], "kept": entries}
        bench.apply("category-rare", [entry["from"] for entry in entries], state)
        for entry in entries:
            bench.replace(entry["from"], {entry["to"]: "category"})


class CrossFit:
    """Label counts of each level and fold, from which the training rows get their own encodings."""

    def __init__(self, column: str, to: Sequence[str], classes: Sequence[str]) -> None:
        self.column, self.to, self.classes = column, list(to), list(classes)
        self.counts: dict[str, Any] = {}
        self.total = np.zeros((FOLDS, len(self.classes) + 1))
        self.fitted: set[str] = set()

    def learn(self, ids: Sequence[str], levels: Sequence[str], labels: Sequence[str]) -> None:
        """Count: column 0 the rows, then the rows of each class."""
        places = {name: place + 1 for place, name in enumerate(self.classes)}
        for id, one, label in zip(ids, levels, labels, strict=True):
            cell = self.counts.setdefault(one, np.zeros((FOLDS, len(self.classes) + 1)))
            for table in (cell, self.total):
                table[fold_of(id), 0] += 1
                if label in places:
                    table[fold_of(id), places[label]] += 1
        self.fitted = set(ids)

    def state(self) -> tuple[dict[str, list[float]], list[float]]:
        """Of each level the shares of the classes among all training rows, drawn towards the average; and the average."""
        total = self.total.sum(0)
        average = total[1:] / max(1.0, total[0])
        ordered = sorted(self.counts, key=lambda one: (-self.counts[one][:, 0].sum(), one))[:LEVELS_MOST]
        return {one: _drawn(self.counts[one].sum(0), average) for one in ordered}, average.tolist()

    def own(self, ids: Sequence[str], levels: Sequence[str], plain: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The encodings of training rows: from the other folds where the row was fitted on, else ``plain``."""
        made = []
        for id, one, state in zip(ids, levels, plain, strict=True):
            if id not in self.fitted:
                made.append(list(state))
                continue
            fold = fold_of(id)
            total = self.total.sum(0) - self.total[fold]
            average = total[1:] / max(1.0, total[0])
            made.append(_drawn(self.counts[one].sum(0) - self.counts[one][fold], average))
        return made


def _drawn(counts: Any, average: Any) -> list[float]:
    found: list[float] = ((counts[1:] + SMOOTHING * average) / (counts[0] + SMOOTHING)).tolist()
    return found


def fold_of(id: str) -> int:
    """The fold of a record, by its id: it stays when records are added."""
    return hashlib.blake2b(id.encode(), digest_size=4, person=b"mofang fold").digest()[0] % FOLDS


def fit_encodings(bench: Workbench, how: Encode, classes: Sequence[str]) -> list[CrossFit]:
    """Write categories as numbers. "auto" adds label shares to categories with more levels than a model lists (50)."""
    entries: list[dict[str, Any]] = []
    crossed: list[CrossFit] = []
    counted = Counter(bench.labels)
    shown = list(classes)[1:] if len(classes) == 2 else sorted(classes, key=lambda one: (-counted[one], one))[:CLASSES_MOST]
    for name in bench.categories() if how != "keep" else []:
        levels = bench.levels(name)
        counts = Counter(levels)
        if how == "auto" and len(counts) <= MANY_LEVELS:
            continue
        if how in ("auto", "target"):
            to = [bench.named(f"{name}.share" + (f" {one}" if len(shown) > 1 else "")) for one in shown]
            fit = CrossFit(name, to, shown)
            fit.learn(bench.ids, levels, bench.labels)
            crossed.append(fit)
            table, unseen = fit.state()
        else:
            to, table, unseen = _plain(bench, name, counts, how)
        entries.append({"from": name, "to": to, "levels": table, "unseen": unseen})
        bench.replace(name, ({name: "category"} if how == "auto" else {}) | dict.fromkeys(to, "number"))
    if entries:
        makes = [one for entry in entries for one in entry["to"]]
        bench.apply("category-encode", [entry["from"] for entry in entries], {"makes": makes, "encodings": entries})
        for fit in crossed:
            give(bench.columns, fit, bench.ids)
    return crossed


def _plain(bench: Workbench, name: str, counts: Counter[str], how: str) -> tuple[list[str], dict[str, Any], list[float]]:
    ordered = sorted(counts, key=lambda one: (-counts[one], one))
    if how == "frequency":
        rows = len(bench.ids)
        return [bench.named(f"{name}.frequency")], {one: [counts[one] / rows] for one in ordered[:LEVELS_MOST]}, [0.0]
    listed = ordered[:MANY_LEVELS]
    to = [bench.named(f"{name} = {one or 'missing'}") for one in listed]
    table = {one: [float(place == other) for other in range(len(listed))] for place, one in enumerate(listed)}
    return to, table, [0.0] * len(listed)


def give(columns: dict[str, Sequence[Any]], fit: CrossFit, ids: Sequence[str]) -> None:
    """Give training rows their own, cross-fitted encodings in place of the state's."""
    from mofang.data.operators.values import level

    plain = list(zip(*(columns[name] for name in fit.to), strict=True))
    own = fit.own(ids, [level(value) or "" for value in columns[fit.column]], plain)
    for place, name in enumerate(fit.to):
        columns[name] = [row[place] for row in own]
