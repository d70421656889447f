"""What a prediction looks at in a snapshot: how many rows, and how long the first thousand texts are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mofang.core.artifact import Artifact
from mofang.data.records import RecordReader
from mofang.engine.arrays import Array
from mofang.engine.task import read_columns
from mofang.fit.loop.batches import Batches
from mofang.fit.size import SAMPLE_ROWS, Size, size_of

SIMULATED = 3200  # rows whose batches are cut as training will cut them; more rows are so many times as much
TOKENS_PER_CHARACTER = {"zh": 1.0, "en": 0.25}


@dataclass(frozen=True)
class Sample:
    """The size of the training part, its validation rows, and the texts of its first rows (none for other data)."""

    size: Size
    validation: int
    texts: tuple[str, ...] = ()

    def lengths(self, most: int, counted: Callable[[list[str]], list[int]] | None = None) -> Array:
        """Positions of sampled texts, int64: by a tokeniser's own count, or by characters; two marks more, at most ``most``."""
        if not self.texts:
            tokens = self.size.length * TOKENS_PER_CHARACTER.get(self.size.language, 1.0)
            return np.full(1, min(most, round(tokens) + 2), dtype=np.int64)
        rate = TOKENS_PER_CHARACTER.get(self.size.language, 1.0)
        found = counted(list(self.texts)) if counted else [round(len("".join(text.split())) * rate) for text in self.texts]
        return np.clip(np.array(found, dtype=np.int64) + 2, 1, most)


@dataclass(frozen=True)
class Cut:
    """The batches of one pass: how many, the padded positions of all, and rows and length of each that was simulated."""

    steps: float
    positions: float
    batches: tuple[tuple[int, int], ...]
    scale: float


def sample_of(snapshot: Artifact) -> Sample:
    """Read the first rows of a snapshot's training part, and the counts of its parts."""
    about = snapshot.read_json("about.json")
    size = size_of(snapshot)
    validation = RecordReader(snapshot / "validation").rows
    names = [one["name"] for one in read_columns(about) if one["role"] == "text"]
    if not names:
        return Sample(size, validation)
    batch = next(RecordReader(snapshot / "train").batches(SAMPLE_ROWS, columns=names, media=False), None)
    columns = [batch.column(name) for name in names] if batch else []
    return Sample(
        size, validation, tuple(" ".join(str(value or "") for value in row) for row in zip(*columns, strict=True))
    )


def cut(lengths: Array, rows: int, most: int, positions: int) -> Cut:
    """How ``rows`` texts of such lengths fall into batches of at most ``most`` texts and ``positions`` padded positions."""
    count = min(rows, SIMULATED)
    drawn = np.random.default_rng(0).choice(lengths, size=max(count, 1))
    made = Batches(drawn, most, positions).epoch(0)
    found = tuple((len(batch), int(drawn[batch].max())) for batch in made)
    scale = max(rows, 1) / max(count, 1)
    return Cut(len(found) * scale, sum(number * length for number, length in found) * scale, found, scale)
