"""Token classification: spans of a text with a label each, such as the names in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mofang.engine.arrays import Array
from mofang.engine.decode.spans import spans_of
from mofang.engine.encode import Record
from mofang.engine.encode.pieces import pieces
from mofang.engine.task import Answer, Schema, Signature
from mofang.engine.tasks.text_classification import TextClassification


class TokenClassification(TextClassification):
    """Labelled spans of each text, in code points; a long text counts as one unit for each 1,000 characters begun."""

    name: ClassVar[str] = "token_classification"
    target: ClassVar[str] = "spans"

    def headline(self, counts: Mapping[str, int]) -> str:
        """"f1": of spans that begin, end and are labelled exactly right, as in CoNLL-2003."""
        return "f1"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"spans": [{"start", "end", "label", "text", "score"}]}, in order and without overlaps."""
        place = {"type": "integer", "minimum": 0}
        properties = {"start": place, "end": place, "label": {"enum": list(signature["labels"])}, "text": {"type": "string"},
                      "score": {"type": "number", "minimum": 0, "maximum": 1}}
        span = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"spans": {"type": "array", "items": span}}, "required": ["spans"], "additionalProperties": False}

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The likeliest spans of each text."""
        labels, column = signature["labels"], signature["inputs"][0]["name"]
        texts = [str(record.get(column) or "") for record in records]
        return [{"spans": spans_of(text, pieces(text), found, labels)}
                for text, found in zip(texts, outputs["probabilities"], strict=True)]


TASK = TokenClassification()
