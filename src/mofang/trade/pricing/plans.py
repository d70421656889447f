"""Price plans: what many units of a model come to, as whole numbers; pure functions of a plan and a count.

A plan is data beside a price (``Price.plan``). Kinds: ``unit`` (each unit the same), ``graduated`` (each unit at the price of
its tier), ``volume`` (all units at the price of the tier that their number reaches), ``package`` (each package that is begun).
Beside it ``included`` units a month cost nothing, and ``minimum`` is the least that a month with use comes to. The meter knows
none of this: it holds back the most that a unit can cost (``dearest``), and the bill gives the difference back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.money import LARGEST_MICROS, PER_UNITS, parse_amount, parse_price

UNIT: dict[str, Any] = {"kind": "unit"}
UNITS_MOST = 10**15
TIERS_MOST = 50
_TIER = re.compile(r"\s*([0-9_]+)\s*[-–~～至]\s*([0-9_]*)\s*[:：]\s*(\S.*?)\s*")
_BETWEEN = re.compile(r"[,，;；、]\s*(?=[0-9_]+\s*[-–~～至])")
_PACKAGE = re.compile(r"\s*([0-9_]+)\s*[:：]\s*(\S.*?)\s*")


@dataclass(frozen=True)
class Step:
    """Units of one tier and what they cost each: ``rate`` micros for a million; ``to`` None has no end."""

    since: int
    to: int | None
    units: int
    rate: int

    def told(self) -> dict[str, Any]:
        """As it stands in a document."""
        return {"from": self.since, "to": self.to, "units": self.units, "rate": self.rate}


def read_tiers(text: str, currency: str) -> list[list[int | None]]:
    """``0-1000:2.00, 1000-:1.50`` as [from, to, rate]: the first thousand units at 2.00 each, all beyond at 1.50.

    Raises ``tiers-unreadable``, ``tiers-gap``, ``tiers-overlap`` and the codes of ``parse_price``.
    """
    found: list[list[int | None]] = []
    for piece in _BETWEEN.split(text):
        match = _TIER.fullmatch(piece)
        if match is None or len(found) == TIERS_MOST:
            raise MofangError("tiers-unreadable", text=piece[:80], most=TIERS_MOST)
        first, last = int(match[1]), int(match[2]) if match[2] else None
        if first > UNITS_MOST or (last is not None and not first < last <= UNITS_MOST):
            raise MofangError("tiers-unreadable", text=piece[:80], most=TIERS_MOST)
        found.append([first, last, parse_price(match[3], currency)])
    reached: int | None = 0
    for since, to, _ in sorted(found, key=lambda one: one[0] or 0):
        assert since is not None
        if reached is None or since < reached:
            raise MofangError("tiers-overlap", at=since)
        if since > reached:
            raise MofangError("tiers-gap", first=reached, to=since)
        reached = to
    if reached is not None:
        raise MofangError("tiers-gap", first=reached, to="∞")
    return sorted(found, key=lambda one: one[0] or 0)


def read_package(text: str, currency: str) -> tuple[int, int]:
    """``1000:5.00`` as units of a package and its micros. Raises ``price-package-unreadable`` and as ``parse_amount``."""
    match = _PACKAGE.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= UNITS_MOST:
        raise MofangError("price-package-unreadable", text=text[:80])
    return int(match[1]), parse_amount(match[2], currency)


def read_plan(
    currency: str, *, price: str = "", tiers: str = "", volume: str = "", package: str = "", included: int = 0, minimum: str = ""
) -> tuple[int, dict[str, Any]]:
    """The dearest rate and the plan of what was typed; exactly one of price, tiers, volume and package is given.

    Raises ``price-kinds`` otherwise, ``included-wrong``, and what the readers raise.
    """
    given = [
        name for name, value in (("price", price), ("tiers", tiers), ("volume", volume), ("package", package)) if value.strip()
    ]
    if len(given) != 1:
        raise MofangError("price-kinds", given=", ".join(given) or "-")
    if not 0 <= included <= UNITS_MOST:
        raise MofangError("included-wrong", included=included)
    if given == ["price"]:
        plan: dict[str, Any] = dict(UNIT)
        rate = parse_price(price, currency)
    elif given == ["package"]:
        size, micros = read_package(package, currency)
        plan = {"kind": "package", "size": size, "micros": micros}
        rate = min(LARGEST_MICROS, -(-micros * PER_UNITS // size))
    else:
        kind = "graduated" if given == ["tiers"] else "volume"
        steps = read_tiers(tiers or volume, currency)
        plan = {"kind": kind, "tiers": steps}
        rate = max(step[2] or 0 for step in steps)
    if included:
        plan["included"] = included
    if minimum.strip():
        plan["minimum"] = parse_amount(minimum, currency)
    return rate, plan


def is_plain(plan: dict[str, Any]) -> bool:
    """Whether each unit simply costs the same, so that what was debited is what is owed."""
    return plan == UNIT


def cost(plan: dict[str, Any], rate: int, units: int, free: int = 0, whole: int | None = None) -> int:
    """What the first ``units`` units of a month come to, in millionths of a micro.

    ``free`` of them are covered by a subscription, besides what the plan includes; ``whole`` is the month's whole number of
    units, by which a volume price goes (default: ``units``).
    """
    spared = free + int(plan.get("included", 0))
    billed = max(0, units - spared)
    kind = plan["kind"]
    if kind == "unit":
        return billed * rate
    if kind == "package":
        return -(-billed // int(plan["size"])) * int(plan["micros"]) * PER_UNITS
    if kind == "volume":
        return billed * _volume_rate(plan["tiers"], max(0, (units if whole is None else whole) - spared))
    return sum(step.units * step.rate for step in graduated(plan["tiers"], 0, billed))


def graduated(tiers: list[list[Any]], begin: int, end: int) -> list[Step]:
    """The tiers in which the units from ``begin`` to before ``end`` fall."""
    found = []
    for since, to, rate in tiers:
        low, high = max(begin, since), end if to is None else min(end, to)
        if high > low:
            found.append(Step(since, to, high - low, rate))
    return found


def _volume_rate(tiers: list[list[Any]], units: int) -> int:
    """The price of the tier that so many units reach: a tier 0-1000 holds the thousandth unit."""
    for _, to, rate in tiers:
        if to is None or units <= to:
            return int(rate)
    raise AssertionError("the last tier has no end")


def steps_of(plan: dict[str, Any], rate: int, begin: int, end: int, free: int, whole: int) -> list[dict[str, Any]]:
    """How the units from ``begin`` to before ``end`` were priced, for the document of a bill."""
    spared = free + int(plan.get("included", 0))
    low, high = max(0, begin - spared), max(0, end - spared)
    kind = plan["kind"]
    found: list[dict[str, Any]] = []
    if (taken := min(end, spared) - min(begin, spared)) > 0:
        found.append({"included": taken})
    if kind == "package":
        size = int(plan["size"])
        count = -(-high // size) - -(-low // size)
        return [*found, {"packages": count, "size": size, "micros": plan["micros"]}] if count else found
    if kind == "graduated":
        return [*found, *(step.told() for step in graduated(plan["tiers"], low, high))]
    if high > low:
        at = rate if kind == "unit" else _volume_rate(plan["tiers"], max(0, whole - spared))
        found.append({"units": high - low, "rate": at})
    return found
