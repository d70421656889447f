"""Numbers: one value for each record. What every regression task shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mofang.engine.arrays import Array
from mofang.engine.decode.classes import Classification
from mofang.engine.encode import Record
from mofang.engine.graphs import NUMBER
from mofang.engine.task import Answer, Schema, Signature


class Regression(Classification):
    """One number for each record; requests are read as for classes."""

    target: ClassVar[str] = "number"

    def headline(self, counts: Mapping[str, int]) -> str:
        """"r2": the share of the numbers' variance that is explained; 1 is exact, 0 is what their mean would give."""
        return "r2"

    def answer_schema(self, signature: Signature) -> Schema:
        """{"value": a number}."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"value": {"type": "number"}}, "required": ["value"], "additionalProperties": False}

    def answer(self, signature: Signature, outputs: Mapping[str, Array], records: Sequence[Record] = ()) -> list[Answer]:
        """The number of each row, to seven digits, which is what float32 holds."""
        return [{"value": float(f"{value:.7g}")} for value in outputs[NUMBER][:, 0].tolist()]
