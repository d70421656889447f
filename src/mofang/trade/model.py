"""What the desk asks of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mofang.engine.arrays import Arrays

Record = dict[str, Any]


class Model(Protocol):
    """What the desk asks of a predictor."""

    def parse(self, body: object) -> tuple[list[Record], bool]:
        """The records of a decoded body, and whether it held many."""
        ...

    def units(self, records: Sequence[Record]) -> int:
        """Billed units of these records."""
        ...

    def predict(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """One answer per record."""
        ...

    def encode(self, records: Sequence[Record]) -> Arrays:
        """The arrays that the graph is given."""
        ...
