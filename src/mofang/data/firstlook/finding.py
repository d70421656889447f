"""What a first look at a source found, and the remarks that a person should read before making a model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mofang.data.columns import is_missing
from mofang.data.firstlook.languages import language_of_texts
from mofang.data.firstlook.personal import personal_in
from mofang.data.operators import normalise

SMALL_CLASS = 20
FEW_ROWS = 200
TEXTS_LOOKED = 2000
RARE, UNEVEN = 0.2, 0.8  # as engine/decode/classes.py has it: when macro-F1 is the headline
NEAR_CHARS = 24
NEAR_LOOKED = 2000
NEAR = 0.85  # the overlap from which cleaning calls texts copies
NEAR_SHARE = 0.05


@dataclass(frozen=True)
class Remark:
    """Something a person should know about the source: a code with its figures, worded by the face."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What a person said by flags; what is given is not guessed."""

    name: str = ""
    task: str = ""
    label: str = ""
    inputs: tuple[str, ...] = ()
    encoding: str = ""
    delimiter: str = ""
    sheet: str = ""
    group: str = ""
    time: str = ""
    map: str = ""
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What ``sniff`` found.

    ``inputs`` and ``left_out`` are (column, role or reason); ``rows`` were looked at; ``classes`` are those after
    ``map``, ``found`` those that the source holds. ``missing`` is (column, values that are not there). ``split`` says why
    rows are kept together or in order. ``whole`` is how many rows there are in all, as far as can be told.
    ``length`` is what an estimate needs: mean characters of a text, values of an
    image at the model's size, or columns of a row.
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
    bytes: int = 0
    encoding: str = ""
    delimiter: str = ""
    sheet: str = ""
    header: bool = True
    label_file: str = ""
    map: str = ""
    set_aside: int = 0
    found: tuple[tuple[str, int], ...] = ()
    group: str = ""
    time: str = ""
    split: str = ""
    languages: tuple[str, ...] = ()
    unlabelled: int = 0
    copies: int = 0
    whole: int = 0
    length: float = 1.0
    pixels: float = 0.0
    missing: tuple[tuple[str, int], ...] = ()
    rejected: int = 0
    why_rejected: tuple[tuple[str, int], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    remarks: tuple[Remark, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return asdict(self)


def about_content(
    columns: Mapping[str, Sequence[Any]], inputs: Sequence[str], task: str, labels: Sequence[Any]
) -> dict[str, Any]:
    """Languages, copies, mean length, and what a person should know of the inputs' values."""
    rows = len(labels)
    text_task = task == "text_classification"
    keys = [tuple(map(_plain, row)) if text_task else row for row in zip(*(columns[name] for name in inputs), strict=True)]
    counts = Counter(keys)
    remarks: list[Remark] = []
    found: dict[str, Any] = {"copies": counts.total() - len(counts), "length": float(len(inputs))}
    if text_task:
        step = max(rows // TEXTS_LOOKED, 1)
        texts = [str(value) for name in inputs for value in columns[name][::step] if not is_missing(value)]
        found["languages"] = language_of_texts(texts, TEXTS_LOOKED * len(inputs))
        found["length"] = sum(map(len, texts)) / max(len(range(0, rows, step)), 1)
        personal = Counter(kind for text in texts if (kind := personal_in(text)))
        if personal:
            kinds = ", ".join(f"{kind} {count}" for kind, count in personal.most_common())
            remarks.append(Remark("personal-in-text", {"count": personal.total(), "looked": len(texts), "kinds": kinds}))
        torn = _conflicts(keys, labels)
        if torn:
            remarks.append(Remark("conflicts", {"count": torn}))
        near = near_copies(list(counts))
        if near > NEAR_SHARE * rows:
            remarks.append(Remark("near-copies", {"count": near}))
    return {**found, "remarks": remarks}


def _plain(value: Any) -> Any:
    return normalise(value) if isinstance(value, str) else value


def _conflicts(keys: Sequence[Any], labels: Sequence[Any]) -> int:
    """How many rows say the same as others that have another label."""
    seen: dict[Any, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        if label:
            seen[key].add(label)
    torn = {key for key, found in seen.items() if len(found) > 1}
    return sum(key in torn for key in keys)


def near_copies(texts: Sequence[tuple[Any, ...]]) -> int:
    """How many texts are copies of an earlier one but for a number, a name or a few signs.

    Those that begin alike and end alike once digits and signs are gone are compared as cleaning compares all.
    """
    from mofang.data.cleaning.near import overlap, shingles

    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in texts:
        text = " ".join(str(value) for value in row if value)
        letters = re.sub(r"[\W\d_]+", "", text)
        if len(letters) >= NEAR_CHARS // 2:
            found[letters[:NEAR_CHARS], letters[-NEAR_CHARS // 3 :]].append(text[:NEAR_LOOKED])
    copies = 0
    for alike in found.values():
        if len(alike) < 2:
            continue
        flat, offsets = shingles(alike)
        parts = [flat[start:stop] for start, stop in zip(offsets, [*offsets[1:], len(flat)], strict=False)]
        copies += sum(overlap(parts[0], part) >= NEAR for part in parts[1 : len(alike)])
    return copies


def class_remarks(classes: Mapping[str, int]) -> list[Remark]:
    """What is odd about the classes: few records, small classes, unequal ones."""
    remarks = []
    total = sum(classes.values())
    if total < FEW_ROWS:
        remarks.append(Remark("few", {"rows": total, "test": max(round(total / 10), 1)}))
    small = [name for name, count in classes.items() if count < SMALL_CLASS]
    if small:
        names = ", ".join(f"{name[:20]} {classes[name]}" for name in small[:5])
        remarks.append(Remark("small-classes", {"rows": SMALL_CLASS, "count": len(small), "names": names}))
    rarest = min(classes.values()) / total
    if rarest < min(RARE, UNEVEN / len(classes)):
        share = f"{100 * rarest:.1f}" if rarest >= 0.001 else "< 0.1"
        remarks.append(Remark("unequal", {"share": share, "name": min(classes, key=lambda name: classes[name])}))
    return remarks


def missing_in(columns: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    """(column, how many of its values are missing), those with most first; columns without are left out."""
    counts = {name: sum(map(is_missing, values)) for name, values in columns.items()}
    return tuple(sorted(((name, count) for name, count in counts.items() if count), key=lambda one: -one[1]))
