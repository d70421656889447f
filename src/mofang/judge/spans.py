"""Found spans against the true ones: a span counts only if it begins, ends and is labelled exactly so, as in CoNLL-2003.

Precision, recall and F1 over all spans of all records together (the micro average, which the literature reports), the
mean of the labels' F1, and the share of records with every span right and none too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from mofang.core.metrics import Floats, Ints
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.engine.task import Answer

OVERALL = ("f1", "precision", "recall", "f1_macro", "all_right")
PER_LABEL = ("precision", "recall", "f1")

Span = tuple[int, int, str]


class Measured:
    """Spans of one model against the true ones, counted for each record and label."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: list[list[tuple[int, int, int]]], outputs: Arrays,
        answers: Sequence[Answer],
    ) -> None:
        labels = list(about["labels"])
        self.names = [(name, "") for name in OVERALL] + [(name, label) for name in PER_LABEL for label in labels]
        true = [{(start, end, labels[place]) for start, end, place in row} for row in truth]
        said = [{(one["start"], one["end"], one["label"]) for one in answer["spans"]} for answer in answers]
        places = {label: place for place, label in enumerate(labels)}
        rows = list(zip(true, said, strict=True))
        self.hits = _counted([wanted & found for wanted, found in rows], places)
        self.true, self.said = _counted(true, places), _counted(said, places)
        self.right = np.array([wanted == found for wanted, found in rows], dtype=np.float64)
        self.truth, self.answers = [_shown(one) for one in true], [_shown(one) for one in said]
        self._sure = [max((one["score"] for one in answer["spans"]), default=0.0) for answer in answers]

    def of(self, weights: Ints) -> Floats:
        """The figures in the order of ``names``; 0 where nothing was found or is there, as seqeval has it."""
        hits, said, true = (weights @ one for one in (self.hits, self.said, self.true))
        precision, recall, f1 = _rates(hits, said, true)
        whole = [one.item() for one in _rates(hits.sum(), said.sum(), true.sum())]
        present = (said + true) > 0
        macro = float(f1[present].mean()) if present.any() else 0.0
        right = float(weights @ self.right / max(1, weights.sum()))
        return np.concatenate([[whole[2], whole[0], whole[1], macro, right], precision, recall, f1])

    def mistakes(self) -> list[tuple[int, float]]:
        """Records with a span too many or too few, the surest first."""
        wrong = np.flatnonzero(self.right == 0).tolist()
        return sorted(((row, self._sure[row]) for row in wrong), key=lambda one: (-one[1], one[0]))


def _counted(rows: Sequence[set[Span]], places: dict[str, int]) -> Floats:
    """How many spans of each label each row has, [N, K]."""
    made = np.zeros((len(rows), len(places)))
    for number, spans in enumerate(rows):
        for _, _, label in spans:
            made[number, places[label]] += 1
    return made


def _rates(hits: Any, said: Any, true: Any) -> tuple[Floats, Floats, Floats]:
    hits, said, true = (np.asarray(one, np.float64) for one in (hits, said, true))
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = precision + recall
    return precision, recall, np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)


def _shown(spans: set[Span]) -> str:
    return orjson.dumps([{"start": start, "end": end, "label": label} for start, end, label in sorted(spans)]).decode()
