"""A task's targets as what a model is fitted to, and its answers back in the task's own terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.graphs import End
from mofang.fit.material import Material, Rows

ENDS: dict[str, End] = {"class": "softmax", "classes": "sigmoid", "number": "identity"}
PROBABILITY_MIN = 1e-12


def outputs_of(material: Material) -> int:
    """Columns of a model's answer: one for each label, or one for a number."""
    return 1 if material.target == "number" else len(material.labels)


def scaled(layers: Sequence[tuple[Array, Array]], architecture: Mapping[str, Any]) -> list[tuple[Array, Array]]:
    """Dense layers whose last one gives numbers in their own unit."""
    spread, centre = architecture.get("spread", 1.0), architecture.get("centre", 0.0)
    *before, (weights, bias) = layers
    return [*before, (weights * spread, bias * spread + centre)]


@dataclass(frozen=True)
class Scale:
    """How targets become columns: one for each label, or one of a number that is centred and divided by its spread.

    A network is fitted to numbers of mean 0 and deviation 1, whatever their unit; ``centre`` and ``spread`` are those of the
    training rows, belong to the model and are undone in its graph.
    """

    target: str
    columns: int
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, material: Material) -> Scale:
        """The scale of a material's training targets."""
        if material.target != "number":
            return cls(material.target, len(material.labels))
        values = np.asarray(material.train.targets, np.float64)
        return cls("number", 1, float(values.mean()), float(values.std()) or 1.0)

    @property
    def end(self) -> End:
        """What a graph ends in."""
        return ENDS[self.target]

    def to_dict(self) -> dict[str, Any]:
        """What a model keeps of it, besides its labels."""
        return {"target": self.target, "centre": self.centre, "spread": self.spread}

    def wanted(self, rows: Rows, places: Array) -> tuple[Array | None, Array | None]:
        """(classes int64 [N], None) where each row has one label, else (None or classes, float32 [N, K])."""
        if self.target == "class":
            soft = rows.soft
            return rows.labels[places], None if soft is None else soft[places]
        return None, self.matrix(rows)[places]

    def matrix(self, rows: Rows) -> Array:
        """The targets as float32 [N, K]: shares of each class, 0 or 1 for each of several labels, or the scaled number."""
        if self.target == "number":
            return ((np.asarray(rows.targets, np.float64) - self.centre) / self.spread).astype(np.float32)[:, None]
        if self.target == "classes":
            return np.asarray(rows.targets, np.float32)
        if rows.soft is not None:
            return rows.soft
        made = np.zeros((len(rows), self.columns), np.float32)
        made[np.arange(len(rows)), rows.labels] = 1
        return made

    def back(self, answers: Array) -> Array:
        """Numbers in their own unit; probabilities as they are."""
        if self.target != "number":
            return answers
        found: Array = (answers.astype(np.float64) * self.spread + self.centre).astype(np.float32)
        return found

    def loss(self, answers: Array, truth: Any) -> float:
        """The mean loss of answers as ``back`` gives them: log loss, or half the squared error in units of the spread."""
        if not len(answers):
            return 0.0
        if self.target == "number":
            errors = (answers[:, 0].astype(np.float64) - truth) / self.spread
            return float((errors**2).mean() / 2)
        if self.target == "classes":
            right = np.where(truth > 0, answers, 1 - answers).astype(np.float64)
            return float(-np.log(np.maximum(right, PROBABILITY_MIN)).mean())
        chosen = answers[np.arange(len(truth)), truth].astype(np.float64)
        return float(-np.log(np.maximum(chosen, PROBABILITY_MIN)).mean())
