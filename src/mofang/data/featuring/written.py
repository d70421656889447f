"""Columns whose values are written: dates and quantities are told from other categories by what the training rows hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.columns import is_missing
from mofang.data.featuring.workbench import Workbench
from mofang.data.operators.dates import PARTS, date_of, days_of
from mofang.data.operators.quantities import quantity_of

AUTO, NONE = ("auto",), ("none",)
READ_LEAST = 0.9  # of the values that are there
LOOKED = 5000
SHORT = re.compile(r"\s*(\d{1,2})[-/.](\d{1,2})[-/.]\d{2,4}")


def _filled(bench: Workbench, name: str) -> list[str]:
    values = [value for value in bench.columns[name] if isinstance(value, str) and not is_missing(value)]
    return values[:: max(1, len(values) // LOOKED)]


def chosen(bench: Workbench, given: tuple[str, ...], roles: Sequence[str], what: str) -> tuple[list[str], bool]:
    """The columns to look at, and whether they were named by the user (who is then told where one does not fit)."""
    if given == NONE:
        return [], False
    if given == AUTO:
        return [name for name, role in bench.features.items() if role in roles], False
    return [bench.require(name, what) for name in given], True


def order_of(values: Sequence[str]) -> str:
    """How dates such as ``3/4/2024`` are meant in a column: "dmy", "mdy", or "" where none of them tells."""
    first_over = sum(_over(value, 0) for value in values)
    second_over = sum(_over(value, 1) for value in values)
    if first_over and not second_over:
        return "dmy"
    return "mdy" if second_over and not first_over else ""


def _over(value: str, place: int) -> bool:
    found = SHORT.match(value)
    return found is not None and int(found[place + 1]) > 12


def fit_dates(bench: Workbench, given: tuple[str, ...], reference: str) -> None:
    """Take dates apart; ``days`` counts from the reference, left out from the newest date of the training rows."""
    names, named = chosen(bench, given, ("time", "category"), "dates")
    entries: list[dict[str, Any]] = []
    fixed = date_of(reference) if reference else None
    if reference and fixed is None:
        raise MofangError("reference-date-unreadable", given=reference)
    for name in names:
        values = _filled(bench, name)
        order = order_of(values)
        moments = [one for one in (date_of(value, order) for value in values) if one is not None]
        if len(moments) < READ_LEAST * max(1, len(values)) or len(set(moments)) < 2:
            if named:
                raise MofangError("feature-column-unsuited", column=name, what="dates", read=len(moments), of=len(values))
            continue
        newest = days_of(fixed) if fixed else float(int(max(map(days_of, moments))))
        parts = {part: f"{name}.{part}" for part in PARTS if part == "days" or _varies(moments, part)}
        entries.append({"from": name, "order": order, "reference": newest, "parts": parts})
        for one in parts.values():
            bench.named(one)
        bench.replace(name, dict.fromkeys(parts.values(), "number"))
    if entries:
        makes = [one for entry in entries for one in entry["parts"].values()]
        bench.apply("date-parts", [entry["from"] for entry in entries], {"makes": makes, "dates": entries})
        bench.notes["dates"] = [entry["from"] for entry in entries]


def _varies(moments: Sequence[Any], part: str) -> bool:
    return len({one.isoweekday() if part == "weekday" else getattr(one, part) for one in moments}) > 1


def fit_quantities(bench: Workbench, given: tuple[str, ...]) -> None:
    """Read written quantities as numbers; bare codes without any unit stay the categories that they are."""
    names, named = chosen(bench, given, ("category",), "units")
    entries = []
    for name in names:
        values = _filled(bench, name)
        decimal = decimal_of(values)
        found = [one for one in (quantity_of(value, decimal) for value in values) if one is not None]
        kinds = Counter(kind for _, kind in found if kind)
        written = bool(kinds) or any(not _bare(value) for value in values)
        kind = kinds.most_common(1)[0][0] if kinds else ""
        fitting = sum(one[1] in ("", kind) for one in found)
        if fitting < READ_LEAST * max(1, len(values)) or not fitting or not (written or named):
            if named:
                raise MofangError("feature-column-unsuited", column=name, what="units", read=fitting, of=len(values))
            continue
        made = bench.named(f"{name}.number")
        entries.append({"from": name, "to": made, "decimal": decimal, "kind": kind})
        bench.replace(name, {made: "number"})
    if entries:
        state = {"makes": [entry["to"] for entry in entries], "quantities": entries}
        bench.apply("unit-repair", [entry["from"] for entry in entries], state)
        bench.notes["units"] = {entry["from"]: entry["kind"] or "number" for entry in entries}


def _bare(value: str) -> bool:
    return value.strip().lstrip("+-").isdigit()


def decimal_of(values: Sequence[str]) -> str:
    """The sign before the fraction, by the values that leave no doubt."""
    sure = [value for value in values if quantity_of(value, ".") == quantity_of(value, ",")]
    commas = sum("," in value and not _dotted(value) for value in sure)
    points = sum("." in value and not _pointless(value) for value in sure)
    return "," if commas > points else "."


def _dotted(value: str) -> bool:
    """Whether the comma stands for thousands: a point follows it, or it stands twice."""
    return value.rfind(".") > value.rfind(",") or value.count(",") > 1


def _pointless(value: str) -> bool:
    """Whether the point stands for thousands: a comma follows it, or it stands twice."""
    return value.rfind(",") > value.rfind(".") or value.count(".") > 1
