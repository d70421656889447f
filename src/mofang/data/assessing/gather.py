"""One pass over all records: counts of every column, a key for each record's content, and a sample that fits memory.

Which records are in the sample follows from their ids, which are keyed digests: the same records give the same sample,
and it is as good as drawn by lot.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.core.artifact import Artifact
from mofang.data.assessing.vectors import media_vector
from mofang.data.columns import is_missing, number_of, text_of
from mofang.data.exporting.files import record_parts
from mofang.data.operators import normalise
from mofang.data.records import Batch, RecordReader
from mofang.data.roles import ID, INPUT_ROLES, MEDIA_ROLES, with_role

DISTINCT_MOST = 10_000
THUMBNAILS = 24


@dataclass
class Column:
    """What all values of a column say, counted as they pass."""

    name: str
    role: str
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    infinite: int = 0
    zeros: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    chars: int = 0
    values: Counter[str] = field(default_factory=Counter)
    many: bool = False

    def add(self, values: Sequence[Any]) -> None:
        """Count a batch."""
        self.rows += len(values)
        for value in values:
            if is_missing(value):
                self.missing += 1
                continue
            number = _number(value)
            if number is not None:
                self.numbers += 1
                if math.isinf(number):
                    self.infinite += 1
                else:
                    self.zeros += number == 0
                    self.low, self.high, self.total = min(self.low, number), max(self.high, number), self.total + number
            shown = text_of(value) or ""
            self.chars += len(shown)
            if not self.many:
                self.values[shown[:200]] += 1
                self.many = len(self.values) > DISTINCT_MOST
                if self.many:
                    self.values.clear()

    @property
    def filled(self) -> int:
        """How many values are not missing."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int:
        """How many different values, at least."""
        return DISTINCT_MOST if self.many else len(self.values)


@dataclass
class Gathered:
    """The records of an artifact, counted and sampled. ``keys`` has a row per record: content, part, class."""

    roles: dict[str, str]
    parts: dict[str, int]
    columns: dict[str, Column]
    content: npt.NDArray[np.uint64]
    part_of: npt.NDArray[np.int16]
    class_of: npt.NDArray[np.int32]
    classes: list[str]
    label: str
    sample_ids: list[str]
    sample: dict[str, list[Any]]
    sample_parts: list[str]
    vectors: dict[str, list[Any]]
    thumbnails: list[tuple[str, bytes]]
    rows: int = 0

    @property
    def inputs(self) -> list[str]:
        """The columns a model would learn from."""
        return [name for name, role in self.roles.items() if role in INPUT_ROLES]

    def with_role(self, *roles: str) -> list[str]:
        """The columns with one of these roles."""
        return with_role(self.roles, roles)

    @property
    def sample_labels(self) -> list[str | None]:
        """The labels of the sample; None where there is none."""
        if not self.label:
            return [None] * len(self.sample_ids)
        return [text_of(one) or None for one in self.sample[self.label]]


def gather(artifact: Artifact, most: int, advance: Any = lambda _rows: None) -> Gathered:
    """Read everything once; at most about ``most`` records are sampled."""
    sets = record_parts(artifact)
    readers = {part: RecordReader(one) for part, one in sets.items()}
    first = next(iter(readers.values()))
    # variants say in the training part alone what they were made of
    roles = {name: role for name, role in first.roles.items() if all(name in one.roles for one in readers.values())}
    label = next(iter(with_role(roles, "label")), "")
    rows = sum(reader.rows for reader in readers.values())
    found = Gathered(
        roles,
        {part: reader.rows for part, reader in readers.items()},
        {name: Column(name, role) for name, role in roles.items()},
        np.zeros(rows, np.uint64),
        np.zeros(rows, np.int16),
        np.full(rows, -1, np.int32),
        [],
        label,
        [],
        {name: [] for name in roles},
        [],
        {name: [] for name in with_role(roles, MEDIA_ROLES)},
        [],
        rows,
    )
    limit = min(most / max(rows, 1), 1.0) * 2**64
    known: dict[str, int] = {}
    start = 0
    for number, (part, reader) in enumerate(readers.items()):
        for batch in reader.batches(1024):
            _take(found, batch, part, number, start, limit, known)
            start += len(batch)
            advance(len(batch))
    found.classes = list(known)
    return found


def _take(found: Gathered, batch: Batch, part: str, number: int, start: int, limit: float, known: dict[str, int]) -> None:
    columns = {name: batch.column(name) for name in found.roles}
    for name, values in columns.items():
        if name not in batch.media:
            found.columns[name].add(values)
        else:
            found.columns[name].rows += len(values)
            found.columns[name].missing += sum(not one for one in batch.media[name])
    end = start + len(batch)
    found.content[start:end] = content_keys(columns, batch.media, found.inputs, len(batch))
    found.part_of[start:end] = number
    if found.label:
        labels = [text_of(one) or None for one in columns[found.label]]
        found.class_of[start:end] = [known.setdefault(one, len(known)) if one else -1 for one in labels]
    ids = batch.column(ID)
    for place in [place for place, id in enumerate(ids) if int(id[:16], 16) < limit]:
        found.sample_ids.append(ids[place])
        found.sample_parts.append(part)
        for name, values in columns.items():
            found.sample[name].append(values[place])
        for name, content in batch.media.items():
            vector, thumbnail = media_vector(content[place], found.roles[name])
            found.vectors[name].append(vector)
            if thumbnail and len(found.thumbnails) < THUMBNAILS:
                found.thumbnails.append((ids[place], thumbnail))


def content_keys(
    columns: Mapping[str, Sequence[Any]], media: Mapping[str, Sequence[bytes]], inputs: Sequence[str], rows: int
) -> npt.NDArray[np.uint64]:
    """A number for what each record says, equal for texts that differ only in spelling of signs, blanks and case."""
    keys = np.zeros(rows, np.uint64)
    for place in range(rows):
        hasher = hashlib.blake2b(digest_size=8)
        for name in inputs:
            value = media[name][place] if name in media else columns[name][place]
            if isinstance(value, str):
                value = normalise(value).lower().encode("utf-8", "replace")
            hasher.update(value if isinstance(value, bytes) else repr(value).encode())
            hasher.update(b"\0")
        keys[place] = int.from_bytes(hasher.digest(), "little")
    return keys


def _number(value: Any) -> float | None:
    try:
        return number_of(value)
    except (ValueError, TypeError, OverflowError):
        return None
