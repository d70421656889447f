"""Classes: probabilities become a label and its scores. What every classification task shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.draws import draw_raw
from mofang.engine.encode import Encoder, Record
from mofang.engine.request import parse_records, request_form, request_schema
from mofang.engine.sentences import sentences, share_chinese
from mofang.engine.task import Answer, Decide, Schema, Signature

UNEQUAL = 1.5     # the largest class over the smallest, from which accuracy flatters the large one
RARE = 0.2        # of all records: a smaller class is rare …
UNEVEN = 0.8      # … unless there are so many classes that this is nearly an even share
DRAWN, SAMPLED = 4, 64  # of so many made-up texts one is drawn from the vocabulary; drawn texts by which languages are told
DRAWS_MAX = 8     # times that an encoder is asked for more, should it draw records that no request could hold


class Classification:
    """One label out of several for each record; a task adds its columns, its unit and its edge cases."""

    name: ClassVar[str]
    target: ClassVar[str] = "class"
    unit: ClassVar[str]
    input_roles: ClassVar[frozenset[str]]

    def headline(self, counts: Mapping[str, int]) -> str:
        """"accuracy", or "f1_macro" where a class is rare or classes are unequal: accuracy would hide the small ones."""
        present = [count for count in counts.values() if count] or [1]
        unequal = max(present) > UNEQUAL * min(present)
        return "f1_macro" if unequal or is_rare(min(present) / sum(present), len(present)) else "accuracy"

    def request_schema(self, signature: Signature) -> Schema:
        """The JSON Schema of a request body."""
        return request_schema(signature["inputs"])

    def answer_schema(self, signature: Signature) -> Schema:
        """{"label": one of the labels, "scores": {label: probability}}."""
        labels = list(signature["labels"])
        score = {"type": "number", "minimum": 0, "maximum": 1}
        scores = {"type": "object", "properties": dict.fromkeys(labels, score), "required": labels,
                  "additionalProperties": False}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"label": {"enum": labels}, "scores": scores},
                "required": ["label", "scores"], "additionalProperties": False}

    def parse(self, signature: Signature, body: object) -> tuple[list[Record], bool]:
        """The records of a body, and whether it held many."""
        return parse_records(signature, body)

    def units(self, record: Record) -> int:
        """One record is one unit."""
        return 1

    def canonical(self, signature: Signature, encoder: Encoder, count: int, seed: int) -> list[Record]:
        """Edge cases of the task, then records drawn from the encoder's state; all are valid requests."""
        rng = np.random.default_rng(seed)
        records = [record for record in self.edges(signature) if self._valid(signature, record)][:count]
        for _ in range(DRAWS_MAX):
            if len(records) >= count:
                break
            drawn = self._drawn(signature, encoder, rng, count - len(records))
            records += [record for record in drawn if self._valid(signature, record)]
        return records

    def _drawn(self, signature: Signature, encoder: Encoder, rng: np.random.Generator, count: int) -> list[Record]:
        """Raw columns for a model of features; for texts sentences in the vocabulary's languages and, of four records one,
        pieces of the vocabulary itself; for others what the encoder draws."""
        features = signature.get("features")
        if features:
            return draw_raw(features["draws"], rng, count)
        columns = [one["name"] for one in signature["inputs"]]
        if any(one["role"] != "text" for one in signature["inputs"]):
            return encoder.draw(rng, count)
        drawn = encoder.draw(rng, max(count // DRAWN, SAMPLED))
        chinese = share_chinese([str(value) for record in drawn[:: max(1, len(drawn) // SAMPLED)] for value in record.values()])
        if chinese is None:
            return encoder.draw(rng, count)
        written = sentences(rng, (count - count // DRAWN) * len(columns), chinese)
        records = [dict(zip(columns, written[begin:begin + len(columns)], strict=True))
                   for begin in range(0, len(written), len(columns))]
        for place, record in enumerate(drawn[: count // DRAWN]):
            records.insert(DRAWN * place + DRAWN - 1, record)
        return records

    def _valid(self, signature: Signature, record: Record) -> bool:
        try:
            self.parse(signature, request_form(record))
        except MofangError:
            return False
        return True

    def edges(self, signature: Signature) -> list[Record]:
        """Records that have broken other systems; a task names its own."""
        return []

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The label of each row and the probability of every label, rounded to six places."""
        return class_answers(signature["labels"], outputs["probabilities"], signature.get("decide"))


def is_rare(share: float, classes: int) -> bool:
    """Whether the smallest class, with this share of the records, is so rare that a model may overlook it."""
    return share < min(RARE, UNEVEN / classes)


def chosen(labels: Sequence[str], probabilities: Array, decide: Decide | None = None) -> Array:
    """The places of the labels that are answered, int64 [B], for probabilities [B, K].

    The likeliest one (ties go to the first), or for two classes the one that is looked for wherever its probability
    reaches the threshold.
    """
    if decide is None:
        best: Array = probabilities.argmax(axis=1)
        return best
    positive = list(labels).index(decide["positive"])
    return np.where(probabilities[:, positive] >= decide["threshold"], positive, 1 - positive)


def class_answers(labels: Sequence[str], probabilities: Array, decide: Decide | None = None) -> list[Answer]:
    """Probabilities float32 [B, K] to [{"label": …, "scores": {label: probability}}]."""
    best = chosen(labels, probabilities, decide).tolist()
    rows = probabilities.tolist()
    scores = [{label: round(score, 6) for label, score in zip(labels, row, strict=True)} for row in rows]
    return [{"label": labels[top], "scores": each} for top, each in zip(best, scores, strict=True)]
