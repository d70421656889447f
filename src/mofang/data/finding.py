"""What a first look at a source found, and the remarks that a person should read before making a model."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from mofang.data.columns import is_missing
from mofang.data.languages import language_of_texts
from mofang.data.operators import normalise

SMALL_CLASS = 20
PERSONAL_IN_TEXT = re.compile(
    r"(?<!\d)1[3-9]\d{9}(?!\d)|(?<![\dXx])[1-9]\d{5}(?:19|20)\d{9}[\dXx](?!\d)|[\w.+-]+@[\w-]+\.[\w.]+"
)


@dataclass(frozen=True)
class Remark:
    """Something a person should know about the source: a code with its figures, worded by the face."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What ``sniff`` found.

    ``inputs`` and ``left_out`` are (column, role or reason); ``rows`` were looked at.
    """

    source: str
    name: str
    task: str
    format: str
    label: str
    inputs: tuple[tuple[str, str], ...]
    rows: int
    complete: bool
    classes: tuple[tuple[str, int], ...]
    files: int = 1
    encoding: str = ""
    delimiter: str = ""
    header: bool = True
    label_file: str = ""
    languages: tuple[str, ...] = ()
    unlabelled: int = 0
    copies: int = 0
    rejected: int = 0
    why_rejected: tuple[tuple[str, int], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    remarks: tuple[Remark, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return asdict(self)


def about_content(
    columns: dict[str, list[Any]], inputs: list[str], task: str, classes: Counter[str], rows: int
) -> dict[str, Any]:
    """Languages, copies, and what a person should know."""
    remarks: list[Remark] = []
    languages: tuple[str, ...] = ()
    text_task = task == "text_classification"
    rows_of_inputs = zip(*(columns[name] for name in inputs), strict=True)
    keys = Counter(tuple(map(_plain, row)) if text_task else row for row in rows_of_inputs)
    if text_task:
        texts = [
            str(value)
            for name in inputs
            for value in columns[name][:: max(rows // 2000, 1)]
            if not is_missing(value)
        ]
        languages = language_of_texts(texts, 2000 * len(inputs))
        personal = sum(bool(PERSONAL_IN_TEXT.search(text)) for text in texts)
        if personal:
            remarks.append(Remark("personal-in-text", {"count": personal, "looked": len(texts)}))
    remarks += class_remarks(classes)
    return {"languages": languages, "copies": keys.total() - len(keys), "remarks": tuple(remarks)}


def _plain(value: Any) -> Any:
    return normalise(value) if isinstance(value, str) else value


def class_remarks(classes: Counter[str]) -> list[Remark]:
    """What is odd about the classes: small ones, unequal ones, stars."""
    remarks = []
    small = [name for name, count in classes.items() if count < SMALL_CLASS]
    if small:
        remarks.append(
            Remark("small-classes", {"count": len(small), "names": ", ".join(small[:5]), "rows": SMALL_CLASS})
        )
    rarest = 100 * min(classes.values()) / classes.total()
    if rarest < 20 / max(len(classes) - 1, 1):
        share = f"{rarest:.1f}" if rarest >= 0.1 else "< 0.1"
        remarks.append(Remark("unequal", {"share": share, "name": min(classes, key=classes.__getitem__)}))
    if sorted(classes) in (["1", "2", "3", "4", "5"], ["0", "1", "2", "3", "4"]):
        remarks.append(Remark("stars", {}))
    return remarks
