"""Numbers: missing ones filled in, far ones drawn in, scaled, binned, and pairs of them brought into one.

All is done value by value in plain Python, so that one request and a million rows give the same bits.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mofang.data.operators.values import level, number

Columns = Mapping[str, Sequence[Any]]


class MissingFill:
    """Puts a fitted value where one is missing, and says so in a column of its own."""

    name: ClassVar[str] = "missing-fill"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Filled columns, and for each with a ``flag`` a column of 1.0 (was missing) and 0.0."""
        made: dict[str, list[Any]] = {}
        for entry in state["fills"]:
            read = number if entry["kind"] == "number" else level
            values = [read(value) for value in columns[entry["from"]]]
            made[entry["to"]] = [entry["value"] if value is None else value for value in values]
            if entry["flag"]:
                made[entry["flag"]] = [1.0 if value is None else 0.0 for value in values]
        return made


class NumberClip:
    """Draws values that lie outside fitted bounds in to the bound (winsorising)."""

    name: ClassVar[str] = "number-clip"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The bounded numbers; a missing one stays missing."""
        return {
            entry["to"]: [
                None if value is None else min(max(value, entry["low"]), entry["high"])
                for value in map(number, columns[entry["from"]])
            ]
            for entry in state["bounds"]
        }


class NumberScale:
    """Brings numbers to one scale: (x - shift) / scale, quantiles from 0 to 1, or a logarithm that takes any sign."""

    name: ClassVar[str] = "number-scale"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The scaled numbers; a missing one stays missing."""
        return {
            entry["to"]: [None if value is None else _scaled(value, entry) for value in map(number, columns[entry["from"]])]
            for entry in state["scales"]
        }


def _scaled(value: float, entry: Mapping[str, Any]) -> float | None:
    if entry["how"] == "log":
        return math.copysign(math.log1p(abs(value)), value)
    if entry["how"] == "quantile":
        return _share_below(value, entry["knots"], entry["shares"])
    return number((value - entry["shift"]) / entry["scale"])


def _share_below(value: float, knots: Sequence[float], shares: Sequence[float]) -> float:
    """The share of the training rows up to a value, straight between two fitted quantiles."""
    place = bisect_right(knots, value)
    if place in (0, len(knots)):
        return 0.0 if place == 0 else 1.0
    low, high = knots[place - 1], knots[place]
    return shares[place - 1] + (value - low) / (high - low) * (shares[place] - shares[place - 1])


class NumberBin:
    """Sorts numbers into fitted bins; the bin is a category."""

    name: ClassVar[str] = "number-bin"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The bins by name; a missing number has none."""
        return {
            entry["to"]: [
                None if value is None else entry["names"][bisect_right(entry["edges"], value)]
                for value in map(number, columns[entry["from"]])
            ]
            for entry in state["bins"]
        }


class NumberPairs:
    """Ratios, differences and products of two columns."""

    name: ClassVar[str] = "number-pairs"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Columns, state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """One column a pair; None where one of the two is missing, or a divisor is 0."""
        return {
            entry["to"]: [
                _paired(number(first), number(second), entry["how"])
                for first, second in zip(columns[entry["of"][0]], columns[entry["of"][1]], strict=True)
            ]
            for entry in state["pairs"]
        }


def _paired(first: float | None, second: float | None, how: str) -> float | None:
    if first is None or second is None or (how == "ratio" and second == 0):
        return None
    return number(first / second if how == "ratio" else first - second if how == "difference" else first * second)
