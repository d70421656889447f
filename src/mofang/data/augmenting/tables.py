"""New rows for rare classes between neighbouring rows of the class (SMOTE-NC, Chawla et al. 2002)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mofang.data.augmenting.kinds import chance
from mofang.data.operators.values import level, number

NEIGHBOURS = 5
ROWS_MOST = 20_000  # of a class, among which neighbours are looked for
AT_ONCE = 500


class Neighbours:
    """The nearest rows of one class: numbers by their spread, a different category as far as the median spread."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> None:
        self.rows = rows
        self.numbers = [name for name, role in roles.items() if role == "number"]
        self.categories = [name for name in roles if name not in self.numbers]
        values = np.array([[_number(row[name]) for name in self.numbers] for row in rows]).reshape(len(rows), -1)
        middle = np.nan_to_num(np.nanmedian(values, axis=0)) if values.size else np.zeros(values.shape[1])
        filled = np.where(np.isnan(values), middle, values)
        spread = filled.std(0)
        scaled = (filled - filled.mean(0)) / np.where(spread > 0, spread, 1)
        apart = float(np.median(scaled.std(0))) if scaled.shape[1] else 1.0
        codes = [np.unique([level(row[name]) or "" for row in rows], return_inverse=True)[1] for name in self.categories]
        self._scaled, self._codes, self._apart = scaled, np.array(codes).reshape(len(codes), len(rows)).T, apart or 1.0

    def of(self, places: Any) -> Any:
        """For each place the places of its nearest rows [N, up to 5], nearest first."""
        found = []
        for first in range(0, len(places), AT_ONCE):
            some = places[first: first + AT_ONCE]
            square = (self._scaled**2).sum(1)
            far = square[some][:, None] - 2 * self._scaled[some] @ self._scaled.T + square[None, :]
            for column in range(self._codes.shape[1]):
                far += self._apart**2 * (self._codes[some, column][:, None] != self._codes[None, :, column])
            far[np.arange(len(some)), some] = np.inf
            found.append(np.argsort(far, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(self.rows) - 1)])
        return np.concatenate(found)


def _number(value: Any) -> float:
    found = number(value)
    return float("nan") if found is None else found


def between(
    row: Mapping[str, Any], near: Sequence[Mapping[str, Any]], finder: Neighbours, rng: Any
) -> tuple[dict[str, Any], int]:
    """A row somewhere between one row and one of its neighbours (its place comes beside); of each category what most have.

    A category that neither of the two has is not taken: a made row holds nothing of anybody whom it does not name, so
    that erasure reaches it. A whole number stays whole where all of them are whole.
    """
    chosen, share = int(rng.integers(0, len(near))), float(rng.random())
    other = near[chosen]
    made: dict[str, Any] = {}
    for name in finder.numbers:
        one, two = number(row[name]), number(other[name])
        if one is None or two is None:
            made[name] = one
            continue
        value = one + share * (two - one)
        made[name] = float(round(value)) if all((number(each[name]) or 0.0) % 1 == 0 for each in (row, *near)) else value
    for name in finder.categories:
        counts = Counter(each[name] for each in (*near, row))
        most = max(counts.values())
        tied = sorted((one for one, count in counts.items() if count == most), key=lambda one: (one is None, str(one)))
        made[name] = other[name] if row[name] not in tied and other[name] in tied else row[name]
    return made, chosen


def synthetic(rows: Sequence[Mapping[str, Any]], ids: Sequence[str], roles: Mapping[str, str], count: int,
              seed: int) -> list[tuple[str, int, str, dict[str, Any]]]:
    """``count`` new rows of one class: (id of the source, its number among that source's, id of the neighbour, values).

    Sources are taken in turn in an order that the seed decides; with fewer than two rows there is nothing between.
    """
    if len(rows) < 2 or count <= 0:
        return []
    order = sorted(range(len(rows)), key=lambda place: (float(chance(seed, "order", ids[place]).random()), ids[place]))
    order = order[:ROWS_MOST]
    kept = [rows[place] for place in order]
    finder = Neighbours(kept, roles)
    places = np.arange(min(count, len(kept)))
    near = finder.of(places)
    made = []
    for number_ in range(count):
        place, turn = number_ % len(kept), number_ // len(kept) + 1
        source = ids[order[place]]
        others = [kept[one] for one in near[place]]
        values, chosen = between(kept[place], others, finder, chance(seed, turn, source))
        made.append((source, turn, ids[order[int(near[place][chosen])]], values))
    return made
