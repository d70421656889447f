"""Question answering: the place in a context that answers a question, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mofang.data.snapshots.targets import question_and_context
from mofang.engine.arrays import Array
from mofang.engine.decode.answer import answer_of
from mofang.engine.encode import Record
from mofang.engine.encode.pieces import pieces
from mofang.engine.task import Answer, Schema, Signature
from mofang.engine.tasks.text_classification import EDGES, TextClassification


class QuestionAnswering(TextClassification):
    """A stretch of the context in code points, or none; a unit is each 1,000 characters of both texts begun."""

    name: ClassVar[str] = "question_answering"
    target: ClassVar[str] = "answer"
    unit: ClassVar[str] = "question"

    def headline(self, counts: Mapping[str, int]) -> str:
        """"f1": the share of words (and Chinese characters) that answer and truth have in common, as in SQuAD."""
        return "f1"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"text", "start", "end", "score"}; text "" and places null where there is no answer."""
        place = {"type": ["integer", "null"], "minimum": 0}
        properties = {"text": {"type": "string"}, "start": place, "end": place,
                      "score": {"type": "number", "minimum": 0, "maximum": 1}}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties,
                "required": list(properties), "additionalProperties": False}

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The likeliest answer of each context."""
        _, column = question_and_context([each["name"] for each in signature["inputs"]])
        texts = [str(record.get(column) or "") for record in records]
        return [answer_of(text, pieces(text), found) for text, found in zip(texts, outputs["places"], strict=True)]

    def edges(self, signature: Signature) -> list[Record]:
        """The texts that have broken other systems, each asked of the one before it."""
        question, context = question_and_context([each["name"] for each in signature["inputs"]])
        return [{question: asked, context: text} for asked, text in zip(EDGES[-1:] + EDGES[:-1], EDGES, strict=True)]


TASK = QuestionAnswering()
