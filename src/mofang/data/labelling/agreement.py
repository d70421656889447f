"""How far people agree in a project: overall, for each pair, for each person, and the tasks on which they agree least."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import numpy as np

from mofang.data.labelling.gathering import Gathered
from mofang.data.labelling.measures import Level, alpha, cohen, f1, fleiss, overlap_f1, value_counts

PAIRS_MOST = 2000
MARKED = ("spans", "boxes", "polygons")


def agreement(gathered: Gathered, least_tasks: int = 20) -> dict[str, Any]:
    """All measures that fit the kind of question; a figure that cannot be said is None."""
    kind = gathered.schema.kind
    if kind in MARKED:
        found = _marks(gathered, kind)
    elif kind == "several":
        found = _several(gathered)
    elif kind == "text":
        found = _coded(gathered, *_texts(gathered), level="nominal")
    else:
        codes, choices = gathered.codes()
        found = _coded(gathered, codes, choices, level="interval" if kind == "ratings" else "nominal")
        if kind == "ratings" and len(gathered.ids):
            found["overall"]["alpha_ordinal"] = _plain(alpha(value_counts(gathered.items, codes, len(choices)), level="ordinal"))
    found["tasks"] = sorted(found["tasks"], key=lambda one: (one["agreement"], one["task"]))[:least_tasks]
    found["kind"] = kind
    return found


def _plain(value: float) -> float | None:
    return None if value != value else float(value)


def _texts(gathered: Gathered) -> tuple[np.ndarray[Any, Any], list[Any]]:
    said = [" ".join(json.loads(text)["text"].split()) for text in gathered.texts]
    known = {text: place for place, text in enumerate(dict.fromkeys(said))}
    return np.array([known[text] for text in said], np.int64), list(known)


def _coded(gathered: Gathered, codes: np.ndarray[Any, Any], choices: list[Any], level: Level) -> dict[str, Any]:
    """Kappas and alpha where every answer is one choice."""
    items, persons = gathered.items, gathered.persons
    classes = len(choices)
    pairs = _pairs(gathered, codes, classes, level)
    if not len(items):
        return {"overall": {"answers": 0, "tasks": 0, "people": 0}, "pairs": [], "people": [], "tasks": []}
    compact = classes <= 1000
    counts = value_counts(items, codes, classes) if compact else np.zeros((0, 1), np.int64)
    values = np.array(choices, float) if level == "interval" else None
    people = counts.sum(1)
    several = people[people > 1]
    same = int(np.bincount(several).argmax()) if len(several) else 0
    overall = {"answers": len(items), "tasks": len(gathered.ids), "people": len(gathered.people), "twice": len(several),
               "alpha": _plain(alpha(counts, values, level)) if compact else None,
               "fleiss": _plain(fleiss(counts[people == same])) if same else None, "fleiss_tasks": int((people == same).sum()),
               "cohen": _mean([one["cohen"] for one in pairs]), "agreement": _weighted(pairs)}
    shares = (counts * (counts - 1)).sum(1) / np.maximum(people * (people - 1), 1)
    tasks = [{"task": gathered.tasks[at], "agreement": round(float(shares[at]), 6), "answers": int(people[at])}
             for at in (people > 1).nonzero()[0]]
    return {"overall": overall, "pairs": pairs, "people": _people(gathered, pairs, persons), "tasks": tasks}


def _pairs(gathered: Gathered, codes: np.ndarray[Any, Any], classes: int, level: Level) -> list[dict[str, Any]]:
    """Each two people over the tasks that both answered."""
    mine = [(gathered.persons == number).nonzero()[0] for number in range(len(gathered.people))]
    found: list[dict[str, Any]] = []
    for one, two in combinations(range(len(gathered.people)), 2):
        if len(found) >= PAIRS_MOST:
            break
        _, first, second = np.intersect1d(gathered.items[mine[one]], gathered.items[mine[two]], assume_unique=True,
                                          return_indices=True)
        if not len(first):
            continue
        a, b = codes[mine[one][first]], codes[mine[two][second]]
        kappa = cohen(a, b, classes) if classes <= 1000 else float("nan")
        pair = {"one": gathered.people[one], "two": gathered.people[two], "tasks": len(a),
                "agreement": round(float((a == b).mean()), 6), "cohen": _plain(kappa)}
        if level == "interval":
            pair["cohen_quadratic"] = _plain(cohen(a, b, classes, "quadratic"))
        found.append(pair)
    return found


def _mean(values: list[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) / len(known) if known else None


def _weighted(pairs: list[dict[str, Any]]) -> float | None:
    total = sum(one["tasks"] for one in pairs)
    return sum(one["agreement"] * one["tasks"] for one in pairs) / total if total else None


def _people(gathered: Gathered, pairs: list[dict[str, Any]], persons: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Each person against all others together."""
    answers = np.bincount(persons, minlength=len(gathered.people)) if len(persons) else np.zeros(len(gathered.people), int)
    found = []
    for number, name in enumerate(gathered.people):
        own = [one for one in pairs if name in (one["one"], one["two"])]
        found.append({"person": name, "answers": int(answers[number]), "agreement": _weighted(own),
                      "cohen": _mean([one.get("cohen") for one in own])})
    return found


def _several(gathered: Gathered) -> dict[str, Any]:
    """Several classes: alpha of each class by itself, and the share of equal sets."""
    sets = [frozenset(json.loads(text)["labels"]) for text in gathered.texts]
    known = {one: place for place, one in enumerate(dict.fromkeys(sets))}
    found = _coded(gathered, np.array([known[one] for one in sets], np.int64), list(known), level="nominal")
    if len(gathered.ids):
        by_class = {}
        for name in gathered.schema.classes:
            codes = np.array([int(name in one) for one in sets], np.int64)
            by_class[name] = _plain(alpha(value_counts(gathered.items, codes, 2)))
        found["overall"]["alpha_by_class"] = by_class
        found["overall"]["alpha_mean"] = _mean(list(by_class.values()))
    return found


def _marks(gathered: Gathered, kind: str) -> dict[str, Any]:
    """F1 of the marks of each two people, added up over tasks, pairs and people."""
    by_item: dict[int, list[tuple[int, list[dict[str, Any]]]]] = defaultdict(list)
    for item, person, text in zip(gathered.items.tolist(), gathered.persons.tolist(), gathered.texts, strict=True):
        by_item[item].append((person, json.loads(text)[kind]))
    pairs: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    tasks = []
    for item, said in by_item.items():
        sums = [0, 0, 0]
        for (one, first), (two, second) in combinations(said, 2):
            found = overlap_f1(first, second, kind)
            for place, value in enumerate(found):
                pairs[one, two][place] += value
                sums[place] += value
            pairs[one, two][3] += 1
        if len(said) > 1:
            tasks.append({"task": gathered.tasks[item], "agreement": round(f1(*sums), 6), "answers": len(said)})
    listed = [{"one": gathered.people[one], "two": gathered.people[two], "tasks": sums[3], "agreement": round(f1(*sums[:3]), 6)}
              for (one, two), sums in sorted(pairs.items())]
    total = [sum(sums[place] for sums in pairs.values()) for place in range(3)]
    counts = Counter(len(said) for said in by_item.values())
    overall = {"answers": len(gathered.items), "tasks": len(gathered.ids), "people": len(gathered.people),
               "twice": sum(times for count, times in counts.items() if count > 1), "f1": f1(*total) if pairs else None,
               "agreement": f1(*total) if pairs else None}
    return {"overall": overall, "pairs": listed, "people": _people(gathered, listed, gathered.persons), "tasks": tasks}
