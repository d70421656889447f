"""Text embedding: a text becomes a vector of length 1, so that texts that belong together lie close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.decode.positives import OUTPUT
from mofang.engine.encode import Record
from mofang.engine.task import Answer, Schema, Signature
from mofang.engine.tasks.text_classification import TextClassification

PLACES = 6     # decimals of an answer: float32 holds no more


class TextEmbedding(TextClassification):
    """The vector of each text; requests and units are as for text classification.

    Training rows hold a text and another that belongs to it: its translation, its answer, its title.
    """

    name: ClassVar[str] = "text_embedding"
    unit: ClassVar[str] = "text"
    input_roles: ClassVar[frozenset[str]] = frozenset({"text"})
    target: ClassVar[str] = "positive"

    def headline(self, counts: Mapping[str, int]) -> str:
        """The mean reciprocal rank of the text that belongs, among all others."""
        return "mrr"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"embedding": numbers whose squares sum to 1}."""
        numbers = {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "minItems": 1}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"embedding": numbers}, "required": ["embedding"], "additionalProperties": False}

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The vector of each row, normalised, rounded to six places."""
        rows = np.round(outputs[OUTPUT].astype(np.float64), PLACES).tolist()
        return [{"embedding": row} for row in rows]



TASK = TextEmbedding()
