"""What may be answered: a kind of question with its classes or its scale, and the check of every answer against it.

Positions in a text are counted in characters (Unicode code points), in a picture in pixels from its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest

Kind = Literal["classes", "several", "spans", "boxes", "polygons", "text", "ratings", "pairs"]
KINDS: tuple[str, ...] = get_args(Kind)
NAMED = ("classes", "several", "spans", "boxes", "polygons")  # kinds that need classes
PICTURE = ("boxes", "polygons")
PAIR = ("a", "b", "tie")
RESERVED = "uscqhx?"  # undo, skip, comment, quit, help, no answer
KEYS = [*"123456789", *(one for one in "abcdefghijklmnopqrstuvwxyz" if one not in RESERVED)]
MARKS_MOST = 5000
POINTS_MOST = 2000
TEXT_CHARS_MOST = 100_000
CLASSES_MOST = 500
EDGE = 0.5  # pixels by which a mark may stand out of the picture: tools round

Answer = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """One kind of question. ``lowest`` and ``highest`` bound a rating, ``column`` is what the question is about."""

    kind: str
    classes: tuple[str, ...] = ()
    lowest: int = 1
    highest: int = 5
    column: str = ""
    second: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Schema:
        """From what the journal holds."""
        return cls(body["kind"], tuple(body["classes"]), body["lowest"], body["highest"], body["column"], body["second"])

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the journal."""
        return {"kind": self.kind, "classes": list(self.classes), "lowest": self.lowest, "highest": self.highest,
                "column": self.column, "second": self.second}

    def check(self) -> Schema:
        """The schema itself, or ``label-schema`` with what is wrong with it."""
        if self.kind not in KINDS:
            raise MofangError("label-schema", rule=f"kind {self.kind!r}; {', '.join(KINDS)}")
        if self.kind in NAMED and not self.classes:
            raise MofangError("label-classes-missing", kind=self.kind)
        if len(set(self.classes)) != len(self.classes) or any(not one.strip() or len(one) > 200 for one in self.classes):
            raise MofangError("label-schema", rule="classes: each once, none empty, at most 200 characters")
        if len(self.classes) > CLASSES_MOST:
            raise MofangError("label-schema", rule=f"at most {CLASSES_MOST} classes")
        if not self.lowest < self.highest or self.highest - self.lowest > 100:
            raise MofangError("label-schema", rule=f"scale {self.lowest} to {self.highest}")
        return self

    @property
    def choices(self) -> list[Any]:
        """What one key can say."""
        if self.kind == "ratings":
            return list(range(self.lowest, self.highest + 1))
        return list(PAIR) if self.kind == "pairs" else list(self.classes)

    def shortcuts(self) -> dict[str, Any]:
        """One key for each choice: 1 to 9, then letters; a rating of one digit is its own key."""
        choices = self.choices
        if self.kind == "ratings" and self.lowest >= 0 and self.highest <= 9:
            return {str(one): one for one in choices}
        return dict(zip(KEYS, choices, strict=False))

    def of_choice(self, choice: Any) -> Answer:
        """The answer that one key gives."""
        if self.kind == "several":
            return {"labels": [choice]}
        return {{"ratings": "rating", "pairs": "better"}.get(self.kind, "label"): choice}

    def checked(self, answer: Any, *, chars: int | None = None, size: tuple[int, int] | None = None) -> Answer:
        """An answer in its one spelling, or ``label-answer`` with the rule it breaks.

        ``chars`` is the length of the text, ``size`` the width and height of the picture, where they are known.
        """
        if not isinstance(answer, dict):
            raise _wrong("an object such as " + str(self.example()))
        wanted = set(self.example())
        if set(answer) != wanted:
            raise _wrong(f"the key {', '.join(sorted(wanted))} and no other")
        if self.kind in ("classes", "several", "ratings", "pairs", "text"):
            return self._plain(answer)
        marks = answer[self.kind]
        if not isinstance(marks, list) or len(marks) > MARKS_MOST:
            raise _wrong(f"a list of at most {MARKS_MOST} {self.kind}")
        if self.kind == "spans":
            found = [self._span(one, chars) for one in marks]
            return {"spans": _once(found, lambda one: (one["start"], one["end"], one["label"]))}
        if self.kind == "boxes":
            return {"boxes": [self._box(one, size) for one in marks]}
        return {"polygons": [self._polygon(one, size) for one in marks]}

    def example(self) -> Answer:
        """The shape of an answer."""
        first = self.classes[0] if self.classes else ""
        shapes: dict[str, Answer] = {
                "classes": {"label": first}, "several": {"labels": [first]}, "text": {"text": ""},
                "ratings": {"rating": self.lowest}, "pairs": {"better": "a"},
                "spans": {"spans": [{"start": 0, "end": 1, "label": first}]},
                "boxes": {"boxes": [{"x": 0, "y": 0, "width": 1, "height": 1, "label": first}]},
                "polygons": {"polygons": [{"points": [[0, 0], [1, 0], [0, 1]], "label": first}]}}
        return shapes[self.kind]

    def _plain(self, answer: Answer) -> Answer:
        if self.kind == "classes":
            return {"label": self._class(answer["label"])}
        if self.kind == "several":
            given = answer["labels"]
            if not isinstance(given, list):
                raise _wrong("labels is a list")
            chosen = {self._class(one) for one in given}
            return {"labels": [one for one in self.classes if one in chosen]}
        if self.kind == "text":
            text = answer["text"]
            if not isinstance(text, str) or len(text) > TEXT_CHARS_MOST or not _whole(text):
                raise _wrong(f"text of at most {TEXT_CHARS_MOST} characters")
            return {"text": text}
        if self.kind == "ratings":
            rating = answer["rating"]
            if isinstance(rating, bool) or not isinstance(rating, int) or not self.lowest <= rating <= self.highest:
                raise _wrong(f"a whole number from {self.lowest} to {self.highest}")
            return {"rating": rating}
        if answer["better"] not in PAIR:
            raise _wrong("better is a, b or tie")
        return {"better": answer["better"]}

    def _class(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self.classes:
            shown = str(name)[:100]
            raise MofangError("label-class-unknown", label=shown, nearest=nearest(shown, self.classes),
                              classes=", ".join(self.classes[:30]))
        return name

    def _span(self, span: Any, chars: int | None) -> dict[str, Any]:
        if not isinstance(span, dict) or set(span) != {"start", "end", "label"}:
            raise _wrong("a span has start, end and label")
        start, end = span["start"], span["end"]
        if any(isinstance(one, bool) or not isinstance(one, int) for one in (start, end)) or not 0 <= start < end:
            raise _wrong("start and end are whole numbers, 0 <= start < end")
        if chars is not None and end > chars:
            raise _wrong(f"the text ends at {chars}; the span {start}-{end} does not lie within it")
        return {"start": start, "end": end, "label": self._class(span["label"])}

    def _box(self, box: Any, size: tuple[int, int] | None) -> dict[str, Any]:
        if not isinstance(box, dict) or set(box) != {"x", "y", "width", "height", "label"}:
            raise _wrong("a box has x, y, width, height and label")
        x, y, width, height = (_number(box[name]) for name in ("x", "y", "width", "height"))
        if width <= 0 or height <= 0:
            raise _wrong("a box has a width and a height above 0")
        _inside([(x, y), (x + width, y + height)], size)
        return {"x": x, "y": y, "width": width, "height": height, "label": self._class(box["label"])}

    def _polygon(self, polygon: Any, size: tuple[int, int] | None) -> dict[str, Any]:
        if not isinstance(polygon, dict) or set(polygon) != {"points", "label"}:
            raise _wrong("a polygon has points and label")
        points = polygon["points"]
        if not isinstance(points, list) or not 3 <= len(points) <= POINTS_MOST:
            raise _wrong(f"a polygon has 3 to {POINTS_MOST} points")
        if any(not isinstance(one, list | tuple) or len(one) != 2 for one in points):
            raise _wrong("a point is [x, y]")
        found = [(_number(x), _number(y)) for x, y in points]
        _inside(found, size)
        if crosses_itself(found):
            raise _wrong("the lines of a polygon do not cross or touch each other")
        return {"points": [list(one) for one in found], "label": self._class(polygon["label"])}


def _wrong(rule: str) -> MofangError:
    return MofangError("label-answer", rule=rule)


def _whole(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e7:
        raise _wrong("coordinates are numbers")
    return round(float(value), 3)


def _inside(points: Sequence[tuple[float, float]], size: tuple[int, int] | None) -> None:
    width, height = size or (10**7, 10**7)
    for x, y in points:
        if not (-EDGE <= x <= width + EDGE and -EDGE <= y <= height + EDGE):
            raise _wrong(f"the point {x:g}, {y:g} lies outside the picture ({width} x {height})")


def _once(marks: list[dict[str, Any]], key: Any) -> list[dict[str, Any]]:
    """Sorted, equal ones once."""
    found = {key(one): one for one in marks}
    return [found[one] for one in sorted(found)]


def crosses_itself(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a closed line meets itself anywhere but at the shared ends of neighbours, or has no area."""
    import numpy as np

    corners = np.asarray(points, dtype=np.float64)
    following = np.roll(corners, -1, axis=0)
    if np.any(np.all(corners == following, axis=1)):
        return True
    area = np.sum(corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1])
    if abs(area) < 1e-9:
        return True
    count = len(corners)

    def side(a: Any, b: Any, c: Any) -> Any:
        found = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        return np.sign(np.where(np.abs(found) < 1e-9, 0.0, found))

    for place in range(count - 1):
        others = np.arange(place + 2, count - (1 if place == 0 else 0))
        if not len(others):
            continue
        a, b, c, d = corners[place], following[place], corners[others], following[others]
        s1, s2, s3, s4 = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
        proper = (s1 * s2 <= 0) & (s3 * s4 <= 0)
        low_a, high_a = np.minimum(a, b), np.maximum(a, b)
        near = np.all((np.minimum(c, d) <= high_a) & (np.maximum(c, d) >= low_a), axis=1)
        if np.any(proper & near):
            return True
    return False
