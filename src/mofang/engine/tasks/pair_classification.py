"""Pair classification: one label for two texts, such as whether one follows from the other."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.encode import Record
from mofang.engine.task import Signature
from mofang.engine.tasks.text_classification import EDGES, TextClassification


class PairClassification(TextClassification):
    """One label for each pair of texts; a unit is each 1,000 characters of both begun."""

    name: ClassVar[str] = "pair_classification"
    unit: ClassVar[str] = "pair"

    def edges(self, signature: Signature) -> list[Record]:
        """The texts that have broken other systems, each beside the one before it."""
        return pair_edges(signature)


def pair_edges(signature: Signature) -> list[Record]:
    """Each awkward text beside the one before it, and beside itself."""
    first, second = (each["name"] for each in signature["inputs"])
    beside = [{first: one, second: other} for one, other in zip(EDGES, EDGES[-1:] + EDGES[:-1], strict=True)]
    return [*beside, {first: EDGES[2], second: EDGES[2]}]


TASK = PairClassification()
