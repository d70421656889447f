"""Text generation: a prompt or a conversation goes in, the words that follow come out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.encode import Record
from mofang.engine.encode.template import is_conversation, read_messages
from mofang.engine.request import TEXT_CHARACTERS_MAX
from mofang.engine.task import Answer, Schema, Signature
from mofang.engine.tasks.text_classification import TextClassification


class TextGeneration(TextClassification):
    """The continuation of each prompt; a request gives ``{"prompt": "…"}`` or ``{"messages": [{"role", "content"}]}``."""

    name: ClassVar[str] = "text_generation"
    unit: ClassVar[str] = "token"
    input_roles: ClassVar[frozenset[str]] = frozenset({"text"})
    target: ClassVar[str] = "text"

    def headline(self, counts: Mapping[str, int]) -> str:
        """The mean log-probability of the wanted words, token by token: minus the loss."""
        return "log_likelihood"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"text": the continuation}."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"text": {"type": "string", "maxLength": TEXT_CHARACTERS_MAX}}, "required": ["text"],
                "additionalProperties": False}

    def parse(self, signature: Signature, body: object) -> tuple[list[Record], bool]:
        """The records of a body; conversations are checked role by role."""
        many = isinstance(body, dict) and isinstance(body.get("records"), list) and len(body) == 1
        if many:
            assert isinstance(body, dict)
            rows = [_written(signature, one, f"records[{place}].") for place, one in enumerate(body["records"])]
            return super().parse(signature, {"records": rows})
        return super().parse(signature, _written(signature, body, ""))

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The texts that a writer gave as "text"."""
        return [{"text": str(one)} for one in outputs["text"].tolist()]


def _written(signature: Signature, row: object, at: str) -> object:
    """A row with its messages as JSON text in the model's column."""
    if not isinstance(row, dict) or len(row) != 1:
        return row
    ((key, value),) = row.items()
    only = signature["inputs"][0]["name"] if len(signature["inputs"]) == 1 else ""
    text: Any = value
    if key == "messages" and only:
        text = json.dumps(read_messages(value, f"{at}messages"), ensure_ascii=False)
    elif isinstance(value, str) and only and key in (only, "prompt", "text") and is_conversation(value):
        read_messages(value, f"{at}{key}")
    if isinstance(text, str) and not text.strip():
        raise MofangError("text-empty", at=f"{at}{key}")
    return {only: text} if only and key in ("messages", "prompt", "text") else row


TASK = TextGeneration()
