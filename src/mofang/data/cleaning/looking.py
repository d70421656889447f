"""The first pass of cleaning: each batch looked at by itself, wherever the shop's executor runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from mofang.data.cleaning.duplicates import REASONS, content_of
from mofang.data.cleaning.labelmap import plain_label
from mofang.data.operators import apply_to_columns
from mofang.data.pixels import ImageFacts, look_at
from mofang.data.records import Batch
from mofang.data.roles import ID

ROW_REASONS = (
    "empty",
    "too-short",
    "too-long",
    "not-an-image",
    "image-too-small",
    "image-too-large",
    "image-mode",
    "label-not-mapped",
)
ALL_REASONS = (*REASONS, *ROW_REASONS)
DAMAGED = ("not-an-image", "image-too-large", "image-mode")
IMAGE_THREADS = 4


@dataclass(frozen=True)
class Rules:
    """The settings of ``clean`` that look at one record at a time."""

    min_chars: int
    max_chars: int
    min_side: int
    max_pixels: int


@dataclass(frozen=True)
class Spelling:
    """What cleaning makes of a batch's columns: operators for the inputs, one spelling and the map for the labels."""

    specs: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]
    mapped: Mapping[str, str]

    def columns(self, batch: Batch) -> tuple[dict[str, Sequence[Any]], list[bool]]:
        """The columns, and which rows carry a label that the map does not know."""
        columns = apply_to_columns(self.specs, {name: batch.column(name) for name in batch.table.schema.names})
        unknown = [False] * len(batch)
        for name in self.labels:
            plain = [plain_label(value) or None for value in columns[name]]
            if self.mapped:
                unknown = [value is not None and value not in self.mapped for value in plain]
                plain = [self.mapped.get(value, value) if value else None for value in plain]
            columns[name] = plain
        return columns, unknown


@dataclass(frozen=True)
class Looked:
    """What the first pass needs to know of one batch: everything but the records themselves."""

    ids: list[str]
    codes: list[int]
    contents: list[bytes]
    labels: list[str | None]
    spellings: dict[str, str]
    texts: list[str]
    chars: dict[str, list[int]]
    facts: dict[str, list[ImageFacts]]


@dataclass(frozen=True)
class Look:
    """Looks at one batch by itself; picklable, so that it runs in this process, in several, or on a cluster."""

    spelling: Spelling
    rules: Rules
    inputs: tuple[str, ...]
    texts: tuple[str, ...]

    def __call__(self, batch: Batch) -> Looked:
        columns, unknown = self.spelling.columns(batch)
        see = partial(look_at, min_side=self.rules.min_side, max_pixels=self.rules.max_pixels)
        with ThreadPoolExecutor(IMAGE_THREADS) as threads:
            facts = {name: list(threads.map(see, values)) for name, values in batch.media.items()}
        rows = range(len(batch))
        wrong = ["label-not-mapped" if unknown[row] else self._wrong(columns, row, facts) for row in rows]
        media = list(batch.media.values())
        contents = [
            content_of([columns[name][row] for name in self.inputs], [values[row] for values in media]) for row in rows
        ]
        label = self.spelling.labels[0] if self.spelling.labels else ""
        labels = list(columns[label]) if label else [None] * len(batch)
        raw = {value for value in batch.column(label) if value} if label else set()
        texts = ["\n".join(columns[name][row] or "" for name in self.texts) for row in rows] if self.texts else []
        chars = {name: [len(value or "") for value in columns[name]] for name in self.texts}
        codes = [ALL_REASONS.index(reason) for reason in wrong]
        spellings = {value: plain_label(value) for value in raw}
        return Looked(batch.column(ID), codes, contents, labels, spellings, texts, chars, facts)

    def _wrong(self, columns: dict[str, Sequence[Any]], row: int, facts: dict[str, list[ImageFacts]]) -> str:
        """What is wrong with one record by itself, or nothing."""
        for looked in facts.values():
            if looked[row].reason:
                return looked[row].reason
        if not facts and all(columns[name][row] in (None, "") for name in self.inputs):
            return "empty"
        chars = sum(len(columns[name][row] or "") for name in self.texts)
        if self.texts and not chars and not facts:
            return "empty"
        if self.texts and chars < self.rules.min_chars:
            return "too-short"
        return "too-long" if self.texts and self.rules.max_chars and chars > self.rules.max_chars else ""
