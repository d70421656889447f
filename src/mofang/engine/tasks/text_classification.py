"""Text classification: one label for each text."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.decode.classes import Classification
from mofang.engine.encode import Record
from mofang.engine.task import Signature

CHARACTERS_PER_UNIT = 1_000

EDGES = ("好", "a", "质量很差，不推荐。", "Would buy again!", "ＡＢＣ１２３，。！",
         "e\u0301te\u0301 \u200bna\u00efve\t\n", "😀👍🏽👨\u200d👩\u200d👧", "手机13800138000",
         "\u202eright to left\u202c", "好" * 3000, "never " * 600, "مرحبا नमस्ते")


class OneText:
    """What every task that answers a text has: a long text counts as one unit for each 1,000 characters begun."""

    unit: ClassVar[str] = "text"
    input_roles: ClassVar[frozenset[str]] = frozenset({"text"})

    def units(self, record: Record) -> int:
        """One for each 1,000 characters begun, counted as the request wrote them."""
        return text_units(record)

    def edges(self, signature: Signature) -> list[Record]:
        """Single characters, full width, combining marks, emoji, digits beside Chinese, right to left, very
        long."""
        return [{each["name"]: text for each in signature["inputs"]} for text in EDGES]


class TextClassification(OneText, Classification):
    """One label for each text."""

    name: ClassVar[str] = "text_classification"


def text_units(record: Record) -> int:
    """One for each 1,000 characters begun of a record's texts, at least 1."""
    characters = sum(len(value) for value in record.values() if isinstance(value, str))
    return max(1, -(-characters // CHARACTERS_PER_UNIT))


TASK = TextClassification()
