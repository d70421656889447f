"""Pair regression: one number for two texts, such as how alike they are."""

from __future__ import annotations

from typing import ClassVar

from mofang.engine.encode import Record
from mofang.engine.task import Signature
from mofang.engine.tasks.pair_classification import pair_edges
from mofang.engine.tasks.text_regression import TextRegression


class PairRegression(TextRegression):
    """One number for each pair of texts; a unit is each 1,000 characters of both begun."""

    name: ClassVar[str] = "pair_regression"
    unit: ClassVar[str] = "pair"

    def edges(self, signature: Signature) -> list[Record]:
        """The texts that have broken other systems, each beside the one before it."""
        return pair_edges(signature)


TASK = PairRegression()
