"""Several labels against the true ones: F1 over all labels of all records (micro), the labels' mean (macro), the share of
records with exactly the right labels, and precision, recall and F1 of each label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from mofang.core.metrics import Floats, Ints
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Record
from mofang.engine.task import Answer

OVERALL = ("f1_micro", "precision_micro", "recall_micro", "f1_macro", "all_right", "hamming")
PER_LABEL = ("precision", "recall", "f1")


class Measured:
    """Labels that one model answered beside the true ones."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: Array, outputs: Arrays, answers: Sequence[Answer]
    ) -> None:
        labels = list(about["labels"])
        self.names = [(name, "") for name in OVERALL] + [(name, label) for name in PER_LABEL for label in labels]
        self.true = truth > 0
        self.said = np.array([[label in answer["labels"] for label in labels] for answer in answers], bool)
        self.said = self.said.reshape(self.true.shape)
        self.scores = outputs["probabilities"].astype(np.float64)
        self.truth = [_shown(labels, row) for row in self.true]
        self.answers = [_shown(labels, row) for row in self.said]

    def of(self, weights: Ints) -> Floats:
        """The figures in the order of ``names``; 0 where a label was neither said nor true."""
        hits, said, true = (weights @ one.astype(np.float64) for one in (self.true & self.said, self.said, self.true))
        precision, recall, f1 = _rates(hits, said, true)
        whole = [float(one[0]) for one in _rates(*(np.array([one.sum()]) for one in (hits, said, true)))]
        total, wrong = max(1, int(weights.sum())), (self.true != self.said).astype(np.float64)
        right = float(weights @ (wrong.sum(axis=1) == 0)) / total
        present = (said + true) > 0
        macro = float(f1[present].mean()) if present.any() else 0.0
        hamming = float((weights @ wrong).sum()) / (total * wrong.shape[1])
        return np.concatenate([[whole[2], whole[0], whole[1], macro, right, hamming], precision, recall, f1])

    def mistakes(self) -> list[tuple[int, float]]:
        """Records with a label too many or too few, the surest of a wrong yes or no first."""
        wrong = self.true != self.said
        sure = np.where(wrong, np.where(self.said, self.scores, 1 - self.scores), 0.0).max(axis=1, initial=0.0)
        rows = np.flatnonzero(wrong.any(axis=1))
        return [(int(row), float(sure[row])) for row in rows[np.argsort(-sure[rows], kind="stable")]]


def _rates(hits: Floats, said: Floats, true: Floats) -> tuple[Floats, Floats, Floats]:
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = said + true
    return precision, recall, np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)


def _shown(labels: Sequence[str], row: Array) -> str:
    return orjson.dumps([label for label, yes in zip(labels, row, strict=True) if yes]).decode()
