"""Text multi-label classification: any number of labels for each text."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.decode.several import Labelling
from mofang.engine.encode import Record
from mofang.engine.task import Signature
from mofang.engine.tasks.text_classification import EDGES, text_units


class TextMultilabel(Labelling):
    """Any number of labels for each text; a long text counts as one unit for each 1,000 characters begun."""

    name: ClassVar[str] = "text_multilabel"
    unit: ClassVar[str] = "text"
    input_roles: ClassVar[frozenset[str]] = frozenset({"text"})

    def units(self, record: Record) -> int:
        """One for each 1,000 characters begun, counted as the request wrote them."""
        return text_units(record)

    def edges(self, signature: Signature) -> list[Record]:
        """The texts that have broken other systems, as for text classification."""
        return [{each["name"]: text for each in signature["inputs"]} for text in EDGES]


TASK = TextMultilabel()
