"""The second pass, row by row: what the facts of a record, held against the thresholds, say about it.

Only columns of figures are read here, so that a changed threshold costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mofang.data.cleaning.duplicates import KEEP, REASONS
from mofang.data.cleaning.quality import Anything, Quality
from mofang.data.cleaning.watching import RULE

ROW_REASONS = (
    "empty",
    "too-short",
    "too-long",
    "not-an-image",
    "image-too-small",
    "image-too-large",
    "image-mode",
    "label-not-mapped",
    "language",
    "personal-data",
    "values-missing",
    "outlier",
    "image-blurred",
    "image-flat",
    "not-a-sound",
    "sound-channels",
    "sound-empty",
    "sound-too-short",
    "sound-too-long",
    "sound-silent",
    "sound-clipped",
)
DAMAGED = ("not-an-image", "image-too-large", "image-mode", "not-a-sound", "sound-channels", "sound-empty")

Codes = npt.NDArray[np.uint8]
Found = Mapping[str, npt.NDArray[Any]]


class Reasons:
    """All reasons with their codes; those of quality and of own rules join as they come up."""

    def __init__(self, names: Sequence[str] = (*REASONS, *ROW_REASONS)) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}

    def code(self, name: str) -> int:
        """The code of a reason."""
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
            assert len(self.names) < 256, "more reasons than a byte has codes for"
        return self._codes[name]


@dataclass(frozen=True)
class Thresholds:
    """The settings of ``clean`` that look at one record at a time and need no more than its figures."""

    min_chars: int = 1
    max_chars: int = 0
    min_side: int = 4
    languages: tuple[str, ...] = ()
    language_score: float = 0.0
    quality: Quality = field(default_factory=Anything)
    personal: bool = False
    rules: tuple[str, ...] = ()
    missing: float = 1.0
    flag: tuple[str, ...] = ()
    min_blur: float = 0.0
    min_contrast: float = 0.0
    min_seconds: float = 0.0
    max_seconds: float = 0.0
    max_silence: float = 1.0
    max_clipping: float = 1.0


@dataclass(frozen=True)
class Columns:
    """Which columns hold what."""

    texts: tuple[str, ...]
    images: tuple[str, ...]
    sounds: tuple[str, ...]
    inputs: int

    def facts(self) -> list[str]:
        """The columns of the facts that every decision reads."""
        return [f"{name}.chars" for name in self.texts] + [
            f"{name}.{side}" for name in self.images for side in ("width", "height")
        ]


class Marks:
    """For each record of a piece the code of the first reason against it; of reasons that are only flagged apart."""

    def __init__(self, rows: int, reasons: Reasons, flagged: Sequence[str]) -> None:
        self.codes: Codes = np.zeros(rows, np.uint8)
        self.flags: Codes = np.zeros(rows, np.uint8)
        self._reasons, self._flagged = reasons, flagged

    def mark(self, reason: str, where: npt.NDArray[np.bool_]) -> None:
        """Note a reason where no other stands yet."""
        into = self.flags if reason in self._flagged else self.codes
        into[(into == KEEP) & (self.codes == KEEP) & where] = self._reasons.code(reason)

    def each(self, reasons: npt.NDArray[Any]) -> None:
        """Note reasons that stand in a column, one for each record."""
        for reason in sorted({one for one in reasons.tolist() if one}):
            self.mark(reason, reasons == reason)


def row_marks(table: pa.Table, columns: Columns, rules: Thresholds, reasons: Reasons) -> Marks:
    """What the rules say about each record, in the order in which they stand here."""
    found = {name: column.to_numpy(zero_copy_only=False) for name, column in zip(table.schema.names, table.columns, strict=True)}
    marks = Marks(table.num_rows, reasons, rules.flag)
    mark = marks.mark
    marks.each(found["_wrong"])
    for name in columns.images:
        mark("image-too-small", np.minimum(found[f"{name}.width"], found[f"{name}.height"]) < rules.min_side)
    if columns.texts:
        chars = np.sum([found[f"{name}.chars"] for name in columns.texts], axis=0)
        mark("too-short", chars < rules.min_chars)
        if rules.max_chars:
            mark("too-long", chars > rules.max_chars)
    if rules.languages:
        known = np.isin(found["language"].astype(str), rules.languages)
        mark("language", ~known | (found["language_score"] < rules.language_score))
    marks.each(np.array(rules.quality.decide(found, table.num_rows), object))
    if rules.personal:
        mark("personal-data", found["personal"] > 0)
    for name in rules.rules:
        mark(f"rule-{name}", found[f"{RULE}{name}"].astype(np.bool_))
    if rules.missing < 1:
        mark("values-missing", found["_missing"] > rules.missing * columns.inputs)
    for name in columns.images:
        if rules.min_blur:
            mark("image-blurred", found[f"{name}.blur"] < rules.min_blur)
        if rules.min_contrast:
            mark("image-flat", found[f"{name}.contrast"] < rules.min_contrast)
    for name in columns.sounds:
        _mark_sounds(name, found, rules, marks)
    return marks


def _mark_sounds(name: str, found: Found, rules: Thresholds, marks: Marks) -> None:
    mark = marks.mark
    marks.each(found[f"{name}.reason"])
    seconds = found[f"{name}.seconds"]
    mark("sound-too-short", seconds < rules.min_seconds)
    if rules.max_seconds:
        mark("sound-too-long", seconds > rules.max_seconds)
    if rules.max_silence < 1:
        mark("sound-silent", found[f"{name}.silent"] > rules.max_silence)
    if rules.max_clipping < 1:
        mark("sound-clipped", found[f"{name}.clipped"] > rules.max_clipping)
