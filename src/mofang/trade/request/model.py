"""What the desk asks of a model, and a model as it is on sale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mofang.engine.arrays import Arrays
from mofang.serve.batching import Batcher
from mofang.serve.generation import Driver

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


@dataclass(frozen=True, slots=True)
class Served:
    """One model on sale: ``name`` such as ``reviews@1``, and the ledger entry of its package."""

    name: str
    package: str
    model: Model
    batcher: Batcher | Driver
    writer: Driver | None = None  # of a generator: it is the batcher too

    @property
    def base(self) -> str:
        """The name without its version, by which prices and keys go."""
        return self.name.partition("@")[0]
