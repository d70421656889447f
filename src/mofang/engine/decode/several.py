"""Several labels: each of them a yes or no of its own. What every multi-label task shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.decode.classes import Classification
from mofang.engine.encode import Record
from mofang.engine.task import Answer, Schema, Signature

HALF = 0.5


class Labelling(Classification):
    """Any number of labels for each record, none included; requests are read as for classes."""

    target: ClassVar[str] = "classes"

    def headline(self, counts: Mapping[str, int]) -> str:
        """"f1_micro": precision and recall over all labels of all records together."""
        return "f1_micro"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"labels": some of the labels, "scores": {label: probability}}; the scores need not sum to 1."""
        labels = list(signature["labels"])
        score = {"type": "number", "minimum": 0, "maximum": 1}
        scores = {"type": "object", "properties": dict.fromkeys(labels, score), "required": labels,
                  "additionalProperties": False}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"labels": {"type": "array", "items": {"enum": labels}, "uniqueItems": True}, "scores": scores},
                "required": ["labels", "scores"], "additionalProperties": False}

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The labels whose probability reaches their threshold, likeliest first, and every probability to six places."""
        labels = signature["labels"]
        said = chosen_labels(labels, outputs["probabilities"], signature.get("thresholds"))
        answers: list[Answer] = []
        for row, is_said in zip(outputs["probabilities"].tolist(), said.tolist(), strict=True):
            named = sorted((place for place, yes in enumerate(is_said) if yes), key=lambda place: (-row[place], place))
            scores = {label: round(score, 6) for label, score in zip(labels, row, strict=True)}
            answers.append({"labels": [labels[place] for place in named], "scores": scores})
        return answers


def chosen_labels(labels: Sequence[str], probabilities: Array, thresholds: Mapping[str, float] | None = None) -> Array:
    """Which labels are answered, bool [B, K], for probabilities [B, K]: those that reach their threshold, or half."""
    cuts = np.array([(thresholds or {}).get(label, HALF) for label in labels], np.float64)
    found: Array = probabilities >= cuts
    return found
