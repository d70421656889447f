"""Rows of a table: numbers filled in and standardised (or left as they are for trees), categories one-hot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Files, Record

LEVELS_MAX = 50
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class NumberColumn:
    """A number's fitted state. A missing value becomes the median (or stays NaN for trees)."""

    name: str
    median: float
    mean: float
    scale: float
    indicator: bool      # whether a feature says that the value is missing
    low: float           # the 1st and 99th percentile, for made-up records
    high: float


@dataclass(frozen=True)
class CategoryColumn:
    """A category's fitted levels, most frequent first; whatever is not among them is "other"."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """Rows in, {"features": float32 [B, F]} out: per number its value (and an indicator where training saw it
    missing), then per category one feature per level and one for "other"; a missing category is a level if
    training saw it, else "other".

    With `raw` the numbers stay as they are and a missing one is NaN, as boosted trees want them.
    """

    name: ClassVar[str] = "table"
    version: ClassVar[int] = 1

    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...]
    raw: bool

    @property
    def features(self) -> tuple[str, ...]:
        """The name of each feature, in order."""
        names = []
        for number in self.numbers:
            names.append(number.name)
            if number.indicator:
                names.append(f"{number.name} missing")
        for category in self.categories:
            names += [f"{category.name} = {level}" for level in (*category.levels, "other")]
        return tuple(names)

    @classmethod
    def fit(cls, records: Sequence[Record], inputs: Sequence[Mapping[str, str]], *, raw: bool = False,
            levels_max: int = LEVELS_MAX) -> Self:
        """Fit on training rows; `inputs` are the signature's [{"name", "role"}], role "number" or
        "category"."""
        numbers = [_fit_number(each["name"], records, raw) for each in inputs if each["role"] == "number"]
        categories = [_fit_category(each["name"], records, levels_max) for each in inputs
                      if each["role"] == "category"]
        return cls(tuple(numbers), tuple(categories), raw)

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"features": float32 [B, F]}."""
        features = np.zeros((len(records), len(self.features)), np.float32)
        place = 0
        for number in self.numbers:
            values = _values(number.name, records)
            missing = np.isnan(values)
            if number.indicator:
                features[:, place + 1] = missing
            if not self.raw:
                values = (np.where(missing, number.median, values) - number.mean) / number.scale
            features[:, place] = values.clip(-LARGEST, LARGEST)
            place += 2 if number.indicator else 1
        rows = np.arange(len(records))
        for category in self.categories:
            codes = {level: code for code, level in enumerate(category.levels)}
            other = len(codes)
            found = [codes.get(category_text(record.get(category.name)), other) for record in records]
            features[rows, place + np.array(found, np.int64)] = 1
            place += other + 1
        return {"features": features}

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Rows of numbers between the usual ends (one in ten missing) and categories known and unknown."""
        records = []
        for _ in range(count):
            record: Record = {}
            for number in self.numbers:
                value = float(np.round(rng.uniform(number.low, number.high), 6))
                record[number.name] = None if rng.random() < 0.1 else value
            for category in self.categories:
                choice = int(rng.integers(0, len(category.levels) + 1))
                record[category.name] = (*category.levels, "something else")[choice] or None
            records.append(record)
        return records

    def save(self) -> Files:
        """table.json."""
        state = {"numbers": [asdict(each) for each in self.numbers],
                 "categories": [asdict(each) for each in self.categories], "raw": self.raw}
        return {"table.json": json.dumps(state, ensure_ascii=True).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        state = json.loads(files["table.json"])
        numbers = tuple(NumberColumn(**each) for each in state["numbers"])
        categories = (CategoryColumn(each["name"], tuple(each["levels"])) for each in state["categories"])
        return cls(numbers, tuple(categories), bool(state["raw"]))


def category_text(value: Any) -> str:
    """One writing for a category whether it comes from a CSV file or from JSON: 1, 1.0 and "1" are the same
    level, missing is the empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _values(name: str, records: Sequence[Record]) -> Array:
    """float64 [B] within the range of float32, so that no square overflows; NaN where missing."""
    return np.array([record.get(name) for record in records], np.float64).clip(-LARGEST, LARGEST)


def _fit_number(name: str, records: Sequence[Record], raw: bool) -> NumberColumn:
    values = _values(name, records)
    present = values[~np.isnan(values)]
    if not present.size:
        return NumberColumn(name, 0.0, 0.0, 1.0, False, 0.0, 1.0)
    deviation = float(present.std())
    low, median, high = np.percentile(present, [1, 50, 99]).tolist()
    return NumberColumn(name, median, float(present.mean()), deviation if deviation > 0 else 1.0,
                        present.size < values.size and not raw, low, high)


def _fit_category(name: str, records: Sequence[Record], levels_max: int) -> CategoryColumn:
    counts = Counter(category_text(record.get(name)) for record in records)
    ordered = sorted(counts, key=lambda level: (-counts[level], level))
    return CategoryColumn(name, tuple(ordered[:levels_max]))
