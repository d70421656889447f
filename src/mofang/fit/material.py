"""What a family learns from: the training and validation rows of a snapshot, read once, and never the test
rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.metrics import accuracy, confusion, macro_f1
from mofang.data.records import RecordReader
from mofang.engine.arrays import Array
from mofang.engine.encode import Record
from mofang.engine.encode.ngrams import spaced
from mofang.engine.task import read_columns, task_named
from mofang.fit.scores import row_score
from mofang.fit.targets import read_targets
from mofang.fit.threshold import best_macro_f1

LANGUAGE_SAMPLE = 1000
PART_SALT = 7_919


@dataclass(frozen=True)
class Rows:
    """Labelled records of one part.

    ``targets`` follow the task: classes int64 [N], several classes float32 [N, K], numbers float32 [N]; lists for spans
    (of (start, end, place of the label)), answers ((start, end), or (-1, -1)) and texts.
    """

    ids: list[str]
    records: list[Record]
    targets: Any
    soft: Array | None = None  # float32 [N, K]: shares of each class, where a teacher said them

    @property
    def labels(self) -> Array:
        """The classes, int64 [N]: places in the snapshot's list of labels."""
        found: Array = self.targets
        return found

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Material:
    """Training and validation rows with the snapshot's signature."""

    task: str
    inputs: tuple[dict[str, str], ...]
    labels: tuple[str, ...]
    headline: str
    train: Rows
    validation: Rows
    target: str = "class"

    def columns(self, *roles: str) -> tuple[str, ...]:
        """The input columns that have one of these roles, in order."""
        return tuple(one["name"] for one in self.inputs if one["role"] in roles)

    @cached_property
    def language(self) -> str:
        """ "zh" for texts written without spaces between words, else "en"; "" where there are no texts."""
        columns = self.columns("text")
        if not columns:
            return ""
        sample = [
            str(row.get(name) or "") for row in self.train.records[:LANGUAGE_SAMPLE] for name in columns
        ]
        return "en" if spaced(sample) else "zh"

    @cached_property
    def class_weights(self) -> Array:
        """What a row of each class counts so that all classes count alike, float32 [K]; a row counts 1 on average."""
        counts = np.bincount(self.train.labels, minlength=len(self.labels))
        return (len(self.train) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)

    def score(self, probabilities: Array, labels: Array) -> float:
        """The headline metric of probabilities [N, K] against labels [N]; higher is better.

        For two unequal classes it is the macro-F1 at the threshold that suits these rows best, because export
        chooses one anyway: models are compared by how well they tell the classes apart. For numbers and several labels see
        ``row_score``.
        """
        if self.target != "class":
            return row_score(self.target, probabilities, labels)
        if self.headline == "f1_macro" and len(self.labels) == 2 and len(labels):
            return best_macro_f1(labels, probabilities)
        counts = confusion(labels, probabilities.argmax(axis=1), len(self.labels))
        return macro_f1(counts) if self.headline == "f1_macro" else accuracy(counts)


def part_of(material: Material, share: float, seed: int) -> Material:
    """The material with this share of its training rows, at least one of each class; a smaller share is part of a larger one."""
    rows = material.train
    order = np.random.default_rng((seed, PART_SALT)).permutation(len(rows))
    if material.target == "class":  # rank within the class first, so that every class gives the same share
        labels = rows.labels[order]
        by_class = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=len(material.labels))
        ranks = np.empty(len(rows), dtype=np.float64)
        ranks[by_class] = np.concatenate([np.arange(count) / max(1, count) for count in counts])
        order = order[np.argsort(ranks, kind="stable")]
    return replace(material, train=_chosen(rows, np.sort(order[: max(1, len(material.labels), round(share * len(rows)))])))


def rated_on(material: Material, most: int) -> Material:
    """The material with at most so many of its validation rows, evenly from first to last."""
    rows = material.validation
    kept = np.unique(np.linspace(0, max(0, len(rows) - 1), min(most, len(rows))).round().astype(np.int64))
    return replace(material, validation=_chosen(rows, kept))


def _chosen(rows: Rows, kept: Array) -> Rows:
    targets = rows.targets[kept] if isinstance(rows.targets, np.ndarray) else [rows.targets[place] for place in kept]
    soft = None if rows.soft is None else rows.soft[kept]
    return Rows([rows.ids[place] for place in kept], [rows.records[place] for place in kept], targets, soft)


def read_material(snapshot: Artifact, headline: str) -> Material:
    """Read the training and validation rows of a snapshot."""
    about = snapshot.read_json("about.json")
    labels = tuple(about["labels"])
    inputs = tuple({"name": one["name"], "role": one["role"]} for one in read_columns(about))
    target = task_named(about["task"]).target
    train, validation = (_rows(snapshot / name, about, target) for name in ("train", "validation"))
    if target in ("class", "number") and len(np.unique(train.targets)) < 2:
        raise MofangError("one-class-only", column=about["label"], rows=len(train))
    return Material(about["task"], inputs, labels, headline, train, validation, target)


def _rows(part: Artifact, about: Mapping[str, Any], target: str) -> Rows:
    names = [one["name"] for one in read_columns(about)]
    ids: list[str] = []
    records: list[Record] = []
    cells: list[str] = []
    for batch in RecordReader(part).batches(columns=list(dict.fromkeys((*names, about["label"])))):
        ids += batch.column("id")
        records += batch.rows(names)
        cells += batch.column(about["label"])
    return Rows(ids, records, read_targets(target, cells, about["labels"]))
