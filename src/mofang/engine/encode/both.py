"""Two encoders of the same records side by side: a graph that reads words in two ways gets the arrays of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Encoder, Files, Record, load_encoder


@dataclass(frozen=True, eq=False)
class BothEncoder:
    """The arrays of a first and of a second encoder, whose names differ; both give one row for each record."""

    name: ClassVar[str] = "both"
    version: ClassVar[int] = 1

    first: Encoder
    second: Encoder

    def encode(self, records: Sequence[Record]) -> Arrays:
        """Every array of both, [B, …]."""
        one, other = self.first.encode(records), self.second.encode(records)
        assert not one.keys() & other.keys(), "each array has a name of its own"
        return one | other

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Records of either kind, in turns."""
        most = self.first.draw(rng, count - count // 2)
        return most + self.second.draw(rng, count // 2) if count > 1 else most

    def save(self) -> Files:
        """both.json and the files of each, numbered."""
        parts = (self.first, self.second)
        about = [{"name": one.name, "version": one.version} for one in parts]
        files = {f"{number}-{name}": data for number, one in enumerate(parts) for name, data in one.save().items()}
        return {"both.json": json.dumps(about).encode(), **files}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        about = json.loads(files["both.json"])
        parts = []
        for number, one in enumerate(about):
            if one["name"] == cls.name:
                raise ValueError("two encoders within two")
            head = f"{number}-"
            own = {name.removeprefix(head): data for name, data in files.items() if name.startswith(head)}
            parts.append(load_encoder(one, own))
        first, second = parts
        return cls(first, second)
