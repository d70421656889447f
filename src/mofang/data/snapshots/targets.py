"""What the label column holds, by task: one label, several, a number, spans of a text, an answer found in one, a text.

Each target has one reading of a cell: how it is written in the parts of a snapshot, which labels it names, and why it
cannot be used. Places in texts are code points, from 0, the end not included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mofang.data.columns import text_of

TARGETS = {
    "text_regression": "number", "text_multilabel": "classes", "pair_regression": "number",
    "token_classification": "spans", "question_answering": "answer",
    "text_generation": "text", "text_embedding": "positive",
}  # every other task: "class"; a test holds this equal to what the tasks say themselves
TEXTS = {"pair_classification": 2, "pair_regression": 2, "question_answering": 2, "token_classification": 1}
QUESTIONS = ("question", "query", "问题", "提问")
MISSING = "label-missing"
UNREADABLE = "label-unreadable"
OUTSIDE = "span-outside"
OVERLAP = "spans-overlap"
DIFFERS = "span-differs"
NOT_FOUND = "answer-not-found"
EMPTY = "text-empty"
REASONS = (UNREADABLE, OUTSIDE, OVERLAP, DIFFERS, NOT_FOUND, EMPTY)
PLACED = ("spans", "answer")  # targets that hold places in a text


@dataclass(frozen=True)
class Cell:
    """One cell read: as the snapshot writes it, the labels that it names, and why it cannot be used ("" if it can)."""

    written: str | None
    labels: tuple[str, ...] = ()
    reason: str = ""


Reading = Callable[[Any, Mapping[str, Any]], Cell]


def target_of(task: str) -> str:
    """What the label column holds for this task."""
    return TARGETS.get(task, "class")


def question_and_context(inputs: Sequence[str]) -> tuple[str, str]:
    """Which of two inputs asks and which is read: the one named ``question`` asks, else the second."""
    first, second = inputs
    return (first, second) if first.strip().lower() in QUESTIONS else (second, first)


def read_columns_of(target: str, inputs: Sequence[str], both: bool = False) -> list[str]:
    """The inputs that must be at hand to read a cell of this target; with ``both`` all of them."""
    return list(inputs) if both or target in PLACED else []


def reading(target: str, inputs: Sequence[str], both: bool = False) -> Reading:
    """How a cell is read: takes its value and the record's inputs (those of ``read_columns_of``); with ``both`` a row whose
    inputs are not all there is of no use."""
    if both and target not in PLACED:
        plain = reading(target, inputs)

        def whole(value: Any, record: Mapping[str, Any]) -> Cell:
            cell = plain(value, record)
            empty = any(not str(record.get(name) or "").strip() for name in inputs)
            return Cell(cell.written, reason=EMPTY) if empty and not cell.reason else cell

        return whole
    if target == "spans":
        return lambda value, record: _spans(value, str(record.get(inputs[0]) or ""))
    if target == "answer":
        question, context = question_and_context(inputs)
        return lambda value, record: _answer(value, str(record.get(question) or ""), str(record.get(context) or ""))
    alone: dict[str, Callable[[Any], Cell]] = {"number": _number, "classes": _classes, "text": _text, "positive": _text}
    read = alone.get(target, _class)
    return lambda value, _: read(value)


def labels_of(target: str, written: str) -> set[str]:
    """The labels that a cell names which a snapshot wrote."""
    if target == "class":
        return {written}
    if target == "classes":
        return set(orjson.loads(written))
    return {one["label"] for one in orjson.loads(written)} if target == "spans" else set()


def _class(value: Any) -> Cell:
    text = (text_of(value) or "").strip()
    return Cell(text, (text,)) if text else Cell(None, reason=MISSING)


def _text(value: Any) -> Cell:
    text = (text_of(value) or "").strip()
    return Cell(text) if text else Cell(None, reason=MISSING)


def _number(value: Any) -> Cell:
    text = (text_of(value) or "").strip()
    if not text:
        return Cell(None, reason=MISSING)
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return Cell(repr(number)) if math.isfinite(number) else Cell(text, reason=UNREADABLE)


def _classes(value: Any) -> Cell:
    """A JSON list of labels, or labels with bars between them (``price|service``)."""
    text = (text_of(value) or "").strip()
    if not text:
        return Cell(None, reason=MISSING)
    found: Any = text.split("|")
    if text.startswith("["):
        found = _json(text)
    if not isinstance(found, list) or not all(isinstance(one, str | int | float | bool) for one in found):
        return Cell(text, reason=UNREADABLE)
    labels = sorted({(text_of(one) or "").strip() for one in found} - {""})
    return Cell(_dumped(labels), tuple(labels))


def _spans(value: Any, text: str) -> Cell:
    """A JSON list of {"start", "end", "label"}, none of which may overlap; "text", where given, must stand there."""
    written = (text_of(value) or "").strip()
    if not written:
        return Cell(None, reason=MISSING)
    found = _json(written)
    if not isinstance(found, list) or not all(_is_span(one) for one in found):
        return Cell(written, reason=UNREADABLE)
    if not text.strip():
        return Cell(written, reason=EMPTY)
    spans = sorted((int(one["start"]), int(one["end"]), str(one["label"]).strip()) for one in found)
    if any(start < 0 or end > len(text) or start >= end for start, end, _ in spans):
        return Cell(written, reason=OUTSIDE)
    if any(before[1] > after[0] for before, after in zip(spans, spans[1:], strict=False)):
        return Cell(written, reason=OVERLAP)
    if any(one.get("text") not in (None, text[int(one["start"]):int(one["end"])]) for one in found):
        return Cell(written, reason=DIFFERS)
    kept = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return Cell(_dumped(kept), tuple(sorted({label for _, _, label in spans})))


def _answer(value: Any, question: str, context: str) -> Cell:
    """JSON {"text", "start"}, or the answer itself: its first place in the context; an empty cell says that there is none."""
    written = text_of(value) or ""
    if not question.strip() or not context.strip():
        return Cell(written, reason=EMPTY)
    text, start = written.strip(), -1
    given = _json(text) if text.startswith("{") else None
    if isinstance(given, dict) and isinstance(given.get("text"), str):
        text, start = given["text"], given.get("start", -1)
        if isinstance(start, bool) or not isinstance(start, int):
            return Cell(written, reason=UNREADABLE)
    if not text.strip():
        return Cell(_dumped({"text": "", "start": -1}))
    if start < 0:
        start = context.find(text)
    if start < 0 or context[start:start + len(text)] != text:
        return Cell(written, reason=NOT_FOUND)
    return Cell(_dumped({"text": text, "start": start}))


def _is_span(one: object) -> bool:
    return (isinstance(one, dict) and all(_is_whole(one.get(name)) for name in ("start", "end"))
            and isinstance(one.get("label"), str) and bool(one["label"].strip()))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()
