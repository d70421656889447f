"""Spans of a text out of the probability of every piece's tag (B begins, I goes on, O is outside; Ramshaw and Marcus 1995)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.engine.arrays import Array
from mofang.engine.encode.pieces import Place

OUTSIDE = 0
TINY = 1e-9

Span = tuple[int, int, int]     # begin and end (in code points, or in pieces), place of the label


def tags_of(spans: Sequence[Span], places: Sequence[Place]) -> tuple[Array, int]:
    """The tag of every piece, int64 [P] (0 outside, 1 + 2k begins label k, 2 + 2k goes on with it), and how many spans do
    not begin and end where a piece does: those cover all the pieces that they touch."""
    tags = np.zeros(len(places), np.int64)
    uneven = 0
    begins, ends = np.array([one[0] for one in places]), np.array([one[1] for one in places])
    for start, end, label in spans:
        first, last = int(np.searchsorted(ends, start, "right")), int(np.searchsorted(begins, end, "left"))
        if first >= last:
            uneven += 1
            continue
        uneven += int(begins[first] != start or ends[last - 1] != end)
        tags[first:last] = 2 + 2 * label
        tags[first] = 1 + 2 * label
    return tags, uneven


def best_tags(probabilities: Array) -> Array:
    """The likeliest allowed tags, int64 [P], for probabilities [P, 1 + 2K]: a tag goes on only with its own label (Viterbi)."""
    scores = np.log(np.maximum(probabilities, TINY))
    count = scores.shape[1]
    begin, inside = np.arange(1, count, 2), np.arange(2, count, 2)
    came = np.zeros(scores.shape, np.int64)
    best = scores[0].copy()
    best[inside] = -np.inf
    for place in range(1, len(scores)):
        free = int(best.argmax())
        came[place] = free
        going = best[inside] > best[begin]
        came[place, inside] = np.where(going, inside, begin)
        before = np.full(count, best[free])
        before[inside] = np.where(going, best[inside], best[begin])
        best = before + scores[place]
    tags = np.empty(len(scores), np.int64)
    tags[-1] = best.argmax()
    for place in range(len(scores) - 1, 0, -1):
        tags[place - 1] = came[place, tags[place]]
    return tags


def runs_of(tags: Array) -> list[Span]:
    """The spans of tags in pieces: (first, one behind the last, place of the label)."""
    found: list[Span] = []
    for begin in np.flatnonzero(tags % 2 == 1).tolist():
        end = begin + 1
        while end < len(tags) and tags[end] == tags[begin] + 1:
            end += 1
        found.append((begin, end, int(tags[begin] - 1) // 2))
    return found


def spans_of(text: str, places: Sequence[Place], probabilities: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """[{"start", "end", "label", "text", "score"}] of one text; the score is the mean probability of the span's tags."""
    if not len(places):
        return []
    tags = best_tags(probabilities[: len(places)])
    found = []
    for first, last, label in runs_of(tags):
        start, end = places[first][0], places[last - 1][1]
        score = float(probabilities[np.arange(first, last), tags[first:last]].mean())
        found.append({"start": start, "end": end, "label": labels[label], "text": text[start:end], "score": round(score, 6)})
    return found
