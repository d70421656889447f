"""Columns of tables made less exact: numbers in bands, dates as months or years, rare categories as one, values as
pseudonyms. The same code changes records for training and requests in serving."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.protecting.change import pseudonym

OTHER = {"zh": "其他", "en": "other"}
DATE = re.compile(r"\s*(\d{4})\s*[-/.年]?\s*(\d{1,2})?(?:\s*[-/.月]\s*(\d{1,2})\s*日?)?")
COMPACT = re.compile(r"\s*(\d{4})(\d{2})(\d{2})\s*$")


def coarse(values: Sequence[Any], state: Mapping[str, Any], key: bytes = b"") -> list[Any]:
    """A column's values by its state: ``band`` (the width), ``dates`` (month or year), ``groups`` (the categories that
    stay, and ``other`` for the rest), or ``pseudonym``."""
    if "band" in state:
        return [in_band(value, float(state["band"])) for value in values]
    if "dates" in state:
        return [in_period(value, str(state["dates"])) for value in values]
    if "groups" in state:
        kept, other = set(state["groups"]), state["other"]
        return [None if value is None else value if str(value) in kept else other for value in values]
    return [None if value is None or value == "" else pseudonym(key, "value", str(value), "ID") for value in values]


def in_band(value: Any, width: float) -> float | None:
    """The middle of the band that a number lies in; bands begin at multiples of their width."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return math.floor(number / width) * width + width / 2 if math.isfinite(number) else None


def in_period(value: Any, period: str) -> str | None:
    """The year or the month of a date; None where no date can be read."""
    found = COMPACT.match(str(value)) or DATE.match(str(value)) if value is not None else None
    if found is None or (period == "month" and (not found[2] or not 1 <= int(found[2]) <= 12)):
        return None
    return found[1] if period == "year" else f"{found[1]}-{int(found[2]):02}"


def kept_groups(counts: Counter[str], least: int) -> list[str]:
    """The categories with at least so many records, sorted."""
    return sorted(name for name, count in counts.items() if count >= least)


def given_pairs(given: Iterable[str], setting: str) -> dict[str, str]:
    """``column=value`` settings as a dictionary."""
    found = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise MofangError("protect-pair", setting=setting, given=one)
        found[name.strip()] = value.strip()
    return found


def positive(text: str, setting: str) -> float:
    """A number above zero, from a setting."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and math.isfinite(number)):
        raise MofangError("protect-pair", setting=setting, given=text)
    return number
