"""One answer for each task out of everybody's: by kind of question, with how sure it is and how many agreed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import orjson

from mofang.core.errors import MofangError
from mofang.data.labelling.dawid import Found, dawid_skene, majority, quality, votes
from mofang.data.labelling.gathering import Gathered
from mofang.data.labelling.measures import ratio

BETWEEN = "|"
LEAST_OVERLAP = 0.5
ALLOWED = {
    "classes": ("majority", "dawid-skene"),
    "pairs": ("majority", "dawid-skene"),
    "several": ("majority", "dawid-skene"),
    "ratings": ("majority", "dawid-skene", "mean", "median"),
    "spans": ("majority",),
    "boxes": ("majority",),
    "polygons": ("majority",),
    "text": ("majority",),
}
AUTO = {"classes": "dawid-skene", "pairs": "dawid-skene", "several": "majority", "ratings": "median"}


@dataclass(frozen=True)
class One:
    """What a task came to: as text, how sure, how many of how many people agreed, tied, or decided by somebody."""

    text: str
    confidence: float
    agreed: int
    answers: int
    tied: bool = False
    decided: bool = False


@dataclass
class Settled:
    """Every task's answer by record id, and how well each person did."""

    method: str
    found: dict[str, One]
    people: list[dict[str, Any]] = field(default_factory=list)
    classes: list[Any] = field(default_factory=list)
    rounds: int = 0

    def of(self, record: str) -> One | None:
        """A record's answer; None where nobody gave one."""
        return self.found.get(record)


def shown(kind: str, answer: dict[str, Any]) -> str:
    """An answer as one cell of a table."""
    if kind == "several":
        return BETWEEN.join(answer["labels"])
    if kind in ("classes", "ratings", "pairs", "text"):
        return str(next(iter(answer.values())))
    return orjson.dumps(answer[kind], option=orjson.OPT_SORT_KEYS).decode()


def settle(gathered: Gathered, method: str, strength: float = 1.0) -> Settled:
    """One answer for each task; ``auto`` chooses by the kind of question."""
    kind = gathered.schema.kind
    chosen = AUTO.get(kind, "majority") if method == "auto" else method
    if chosen not in ALLOWED[kind]:
        raise MofangError("label-method", method=method, kind=kind, methods=", ".join(ALLOWED[kind]))
    settled = Settled(chosen, {})
    if gathered.ids:
        if chosen in ("mean", "median"):
            _ratings(gathered, settled)
        elif kind in ("classes", "pairs", "ratings"):
            _choices(gathered, settled, strength)
        elif kind == "several":
            _several(gathered, settled, strength)
        else:
            _free(gathered, settled)
    _checks(gathered, settled)
    for record, text in gathered.decisions.items():
        before = settled.found.get(record)
        answer = shown(kind, json.loads(text))
        agreed = 0 if before is None or before.text != answer else before.agreed
        settled.found[record] = One(answer, 1.0, agreed, before.answers if before else 0, decided=True)
    return settled


def _model(gathered: Gathered, items: Any, people: Any, codes: Any, classes: int, method: str, strength: float) -> Found:
    count = len(gathered.ids)
    if method == "majority":
        return majority(items, codes, count, classes)
    return dawid_skene(items, people, codes, (count, len(gathered.people), classes), strength=strength)


def _choices(gathered: Gathered, settled: Settled, strength: float) -> None:
    codes, choices = gathered.codes()
    count = len(gathered.ids)
    found = _model(gathered, gathered.items, gathered.persons, codes, len(choices), settled.method, strength)
    given = votes(gathered.items, codes, count, len(choices))
    top = np.sort(np.round(found.chances, 12), axis=1)
    tied = top[:, -1] == top[:, -2] if len(choices) > 1 else np.zeros(count, np.bool_)
    for place, (best, sure) in enumerate(zip(found.best.tolist(), found.confidence.tolist(), strict=True)):
        settled.found[gathered.ids[place]] = One(
            str(choices[best]), min(1.0, sure), int(given[place, best]), int(given[place].sum()), bool(tied[place])
        )
    settled.classes, settled.rounds = [str(one) for one in choices], found.rounds
    settled.people = _people(gathered, settled, found)


def _people(gathered: Gathered, settled: Settled, found: Found) -> list[dict[str, Any]]:
    """Each person: answers, how often the settled answer was theirs, and the matrix of the model."""
    by_model = quality(found) if len(found.confusion) else [{} for _ in gathered.people]
    people = []
    for number, name in enumerate(gathered.people):
        mine = (gathered.persons == number).nonzero()[0]
        same = sum(
            shown(gathered.schema.kind, json.loads(gathered.texts[at])) == settled.found[gathered.ids[gathered.items[at]]].text
            for at in mine
        )
        one = {"person": name, "answers": len(mine), "with_result": round(same / max(1, len(mine)), 6), **by_model[number]}
        if len(found.confusion):
            one["confusion"] = np.round(found.confusion[number], 6).tolist()
        people.append(one)
    return people


def _several(gathered: Gathered, settled: Settled, strength: float) -> None:
    """Each class by itself: said or not said."""
    chosen: dict[int, list[str]] = defaultdict(list)
    sure = np.ones(len(gathered.ids))
    tied = np.zeros(len(gathered.ids), np.bool_)
    sets = [set(json.loads(text)["labels"]) for text in gathered.texts]
    for name in gathered.schema.classes:
        codes = np.array([int(name in one) for one in sets], np.int64)
        found = _model(gathered, gathered.items, gathered.persons, codes, 2, settled.method, strength)
        yes = np.round(found.chances[:, 1], 12)
        sure = np.minimum(sure, np.maximum(yes, 1 - yes))
        tied |= yes == 0.5
        for at in (yes > 0.5).nonzero()[0]:
            chosen[int(at)].append(name)
    exact: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for item, one in zip(gathered.items.tolist(), sets, strict=True):
        total[item] += 1
        exact[item] += one == set(chosen[item])
    for place, record in enumerate(gathered.ids):
        settled.found[record] = One(
            BETWEEN.join(chosen[place]), float(sure[place]), exact[place], total[place], bool(tied[place])
        )
    settled.classes = list(gathered.schema.classes)
    settled.people = _plain_people(gathered, settled)


def _ratings(gathered: Gathered, settled: Settled) -> None:
    """The middle, or the mean; how sure is one less the spread as a share of the scale."""
    schema = gathered.schema
    for place, texts in enumerate(_by_item(gathered)):
        values = [json.loads(text)["rating"] for text in texts]
        middle = median(values) if settled.method == "median" else sum(values) / len(values)
        spread = sum(abs(one - middle) for one in values) / len(values) / (schema.highest - schema.lowest)
        near = sum(abs(one - middle) <= 0.5 for one in values)
        settled.found[gathered.ids[place]] = One(f"{middle:.6g}", 1 - spread, near, len(values))
    settled.people = _plain_people(gathered, settled)


def _plain_people(gathered: Gathered, settled: Settled) -> list[dict[str, Any]]:
    none = Found(np.zeros((0, 0)), np.zeros((0, 0, 0)), np.zeros(0), 0)
    return _people(gathered, settled, none)


def _by_item(gathered: Gathered) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in gathered.ids]
    for item, text in zip(gathered.items.tolist(), gathered.texts, strict=True):
        found[item].append(text)
    return found


def _free(gathered: Gathered, settled: Settled) -> None:
    """Words by the commonest spelling, marks by the majority of those that overlap."""
    kind = gathered.schema.kind
    for place, texts in enumerate(_by_item(gathered)):
        answers = [json.loads(text) for text in texts]
        settled.found[gathered.ids[place]] = _words(answers) if kind == "text" else _marks(kind, answers)
    settled.people = _plain_people(gathered, settled)


def _words(answers: list[dict[str, Any]]) -> One:
    counts = Counter(" ".join(one["text"].split()) for one in answers)
    best = max(counts.values())
    first = next(text for text in counts if counts[text] == best)
    tied = len(answers) > 1 and sum(one == best for one in counts.values()) > 1
    return One(first, best / len(answers), best, len(answers), tied)


def _marks(kind: str, answers: list[dict[str, Any]]) -> One:
    """Marks of one class that overlap are one; those of more than half of the people stay, in the middle of their edges."""
    groups: list[list[tuple[int, dict[str, Any]]]] = []
    for person, answer in enumerate(answers):
        for mark in answer[kind]:
            best, where = 0.0, None
            for group in groups:
                if group[0][1]["label"] != mark["label"] or any(who == person for who, _ in group):
                    continue
                share = sum(ratio(mark, other) for _, other in group) / len(group)
                if share > best:
                    best, where = share, group
            if where is not None and best >= LEAST_OVERLAP:
                where.append((person, mark))
            else:
                groups.append([(person, mark)])
    people = len(answers)
    kept = [group for group in groups if 2 * len(group) > people]
    marks = [_middle(kind, [mark for _, mark in group]) for group in kept]
    marks.sort(
        key=lambda one: (
            orjson.dumps(one, option=orjson.OPT_SORT_KEYS)
            if kind != "spans"
            else f"{one['start']:012}{one['end']:012}{one['label']}".encode()
        )
    )
    share = sum(max(len(group), people - len(group)) / people for group in groups) / len(groups) if groups else 1.0
    whole = [{id(mark) for _, mark in group} for group in kept]
    agreed = sum(
        len(answer[kind]) == len(kept) and all(any(id(mark) in group for group in whole) for mark in answer[kind])
        for answer in answers
    )
    tied = any(2 * len(group) == people for group in groups)
    return One(orjson.dumps(marks, option=orjson.OPT_SORT_KEYS).decode(), share, agreed, people, tied)


def _middle(kind: str, marks: list[dict[str, Any]]) -> dict[str, Any]:
    """One mark out of several that overlap: the middle of their edges, or the polygon nearest to all others."""
    label = marks[0]["label"]
    if kind == "spans":
        counts = Counter((one["start"], one["end"]) for one in marks)
        start, end = min(counts, key=lambda one: (-counts[one], one))
        return {"start": start, "end": end, "label": label}
    if kind == "polygons":
        return max(marks, key=lambda one: (sum(ratio(one, other) for other in marks), json.dumps(one, sort_keys=True)))
    left, top = median(one["x"] for one in marks), median(one["y"] for one in marks)
    right, low = median(one["x"] + one["width"] for one in marks), median(one["y"] + one["height"] for one in marks)
    return {
        "x": round(left, 3),
        "y": round(top, 3),
        "width": round(right - left, 3),
        "height": round(low - top, 3),
        "label": label,
    }


def _checks(gathered: Gathered, settled: Settled) -> None:
    """How often each person was right where the answer is known, and how long an answer took."""
    told = {one["person"]: one for one in settled.people}
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    times: dict[str, list[int]] = defaultdict(list)
    for item, number, text, ms in zip(
        gathered.items.tolist(), gathered.persons.tolist(), gathered.texts, gathered.ms.tolist(), strict=True
    ):
        name = gathered.people[number]
        known = gathered.gold.get(gathered.tasks[item])
        if known is not None:
            seen[name] += 1
            right[name] += known == text
        if ms:
            times[name].append(ms)
    for name, one in told.items():
        one["checks"], one["checks_right"] = seen[name], right[name]
        one["ms_median"] = int(median(times[name])) if times[name] else None


def mark_answer(kind: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The marks that most people made, as an answer."""
    return {kind: json.loads(_marks(kind, answers).text)}
