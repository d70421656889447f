"""From counted use and what was agreed to the lines of a bill: whole-number arithmetic, and nothing else.

Order of the lines: use by model, package and price version; subscriptions; what a model's minimum lacks; discount; what the
customer's minimum lacks; charges made once; tax. A discount takes from use, subscriptions and minimums; a tax is on all of it.
Every line is rounded once to what can be paid (half to even); the sum of the differences stands on the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mofang.core.errors import MofangError
from mofang.core.merkle import leaf_hash
from mofang.core.money import MINOR_MICROS, PER_UNITS, round_half_even_minor
from mofang.trade.accounts.terms import Agreed, Subscription
from mofang.trade.billing.tally import Group, GroupKey, root_of
from mofang.trade.pricing.plans import UNIT, cost, is_plain, steps_of

MILLION = 1_000_000
Counted = tuple[int, GroupKey, Group]  # the number of the seal, from 1


@dataclass
class Use:
    """The use behind one line: model, package and price version, over some seals."""

    model: str
    package: str
    price: dict[str, Any]
    units: int = 0
    requests: int = 0
    metered: int = 0
    late: int = 0
    repeats: int = 0
    seals: list[tuple[int, str, Group]] = field(default_factory=list)
    exact: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def base(self) -> str:
        """The model without its version: prices and subscriptions go by it."""
        return self.model.partition("@")[0]

    @property
    def plan(self) -> dict[str, Any]:
        """The price's plan."""
        found: dict[str, Any] = self.price.get("plan", UNIT)
        return found


@dataclass(frozen=True)
class Basis:
    """What a bill is made from beside its use."""

    customer: dict[str, Any]
    prices: dict[tuple[str, int], dict[str, Any]]
    month: str
    agreed: Agreed = field(default_factory=Agreed)
    subscriptions: tuple[Subscription, ...] = ()
    oneoffs: tuple[dict[str, Any], ...] = ()  # rows of the journal of charges, with their ids
    entries: tuple[str, ...] = ()  # ledger entries of the seals of use; a seal beyond them is not made yet

    @property
    def currency(self) -> str:
        """The customer's."""
        found: str = self.customer["currency"]
        return found


def bill_lines(counted: Iterable[Counted], basis: Basis) -> tuple[list[dict[str, Any]], int, int]:
    """The numbered lines of a bill, the micros that the meter debited for them, and the rows of test keys left out."""
    uses, tests = _uses(counted, basis)
    months = [one for one in basis.subscriptions if one.days_in(basis.month)[0]]
    free: dict[str, int] = defaultdict(int)
    lines: list[dict[str, Any]] = []
    fees = []
    for one in months:
        fee, included, days, of = one.in_month(basis.month, basis.currency)
        free[one.model] += included
        fees.append(
            _line(
                "subscription",
                fee,
                model=one.model,
                monthly_micros=one.monthly_micros,
                included=included,
                days=days,
                days_of=of,
                subscription=one.id,
            )
        )
    _price(uses, free)
    lines += [_use_line(one, basis) for one in uses]
    lines += fees
    lines += _model_minimums(uses, lines, basis)
    lines += _discount_and_minimum(lines, basis)
    lines += [
        _line(one["kind"], one["micros"], what=one["what"], charge=one["id"], source_entry=one["source_entry"])
        for one in basis.oneoffs
    ]
    if basis.agreed.tax_ppm and lines:
        base = sum(line["amount_micros"] for line in lines)
        lines.append(
            _line(
                "tax",
                share(base, basis.agreed.tax_ppm, basis.currency),
                name=basis.agreed.tax_name,
                rate_ppm=basis.agreed.tax_ppm,
                base_micros=base,
            )
        )
    return [{"line": at, **line} for at, line in enumerate(lines, start=1)], sum(one.metered for one in uses), tests


def share(micros: int, ppm: int, currency: str) -> int:
    """So many millionths of an amount, rounded once to what can be paid, half to even."""
    minor = MINOR_MICROS[currency] * MILLION
    whole, rest = divmod(micros * ppm, minor)
    up = 2 * rest > minor or (2 * rest == minor and whole % 2 == 1)
    return (whole + up) * MINOR_MICROS[currency]


def _line(kind: str, micros: int, **more: Any) -> dict[str, Any]:
    """A line that no use stands behind."""
    return {"kind": kind, **more, "exact_micros": micros, "amount_micros": micros}


def price_of(
    prices: dict[tuple[str, int], dict[str, Any]], model: str, version: int | None, currency: str, row: str
) -> dict[str, Any]:
    """The price that use of a model goes by. Raises ``usage-unpriced``, and ``usage-price-unknown`` in another currency."""
    if version is None:
        raise MofangError("usage-unpriced", row=row, model=model)
    found = prices.get((model.partition("@")[0], version))
    if found is None or found["currency"] != currency:
        raise MofangError("usage-price-unknown", row=row, model=model, version=version, currency=currency)
    return found


def sums(lines: Sequence[dict[str, Any]], currency: str) -> dict[str, Any]:
    """What lines come to: exactly, rounded line by line, and the difference."""
    exact, total = (sum(line[name] for line in lines) for name in ("exact_micros", "amount_micros"))
    return {"lines": lines, "minor_micros": MINOR_MICROS[currency], "exact_micros": exact, "rounding_micros": total - exact,
            "total_micros": total}  # fmt: skip


def _uses(counted: Iterable[Counted], basis: Basis) -> tuple[list[Use], int]:
    """The use of each line in the order of the lines, and the rows of test keys."""
    found: dict[tuple[str, str, int], Use] = {}
    tests = 0
    for number, key, group in counted:
        if key.test:
            tests += group.requests
            continue
        price = price_of(basis.prices, key.model, key.price, basis.currency, f"{group.requests}")
        use = found.setdefault((key.model, key.package, price["version"]), Use(key.model, key.package, price))
        if group.wrong or group.rate != use.price["rate"]:
            row, micros, expected = group.wrong or ("-", group.micros, group.units * use.price["rate"] // PER_UNITS)
            raise MofangError("usage-charge-wrong", row=row, micros=micros, expected=expected)
        use.units += group.units
        use.requests += group.requests
        use.metered += group.micros
        use.repeats += group.repeats
        use.late += group.requests if key.month < basis.month else 0
        use.seals.append((number, key.month, group))
    return [use for _, use in sorted(found.items())], tests


def _price(uses: Sequence[Use], free: dict[str, int]) -> None:
    """What each line comes to: its share of what all units of its model and price version come to, in the order of the lines.

    Units that a subscription includes are used up by the first price version of the month.
    """
    by_price: dict[tuple[str, int], list[Use]] = defaultdict(list)
    for use in uses:
        by_price[use.base, use.price["version"]].append(use)
    left = dict(free)
    for (base, _), members in sorted(by_price.items()):
        plan, rate, whole = members[0].plan, members[0].price["rate"], sum(one.units for one in members)
        spared = left.get(base, 0)
        if is_plain(plan) and not spared:
            for use in members:
                use.exact = use.metered
            continue
        left[base] = max(0, spared - whole)
        at = 0
        for use in members:
            end = at + use.units
            use.exact = cost(plan, rate, end, spared, whole) // PER_UNITS - cost(plan, rate, at, spared, whole) // PER_UNITS
            use.steps = steps_of(plan, rate, at, end, spared, whole)
            at = end


def _use_line(use: Use, basis: Basis) -> dict[str, Any]:
    """A line of use: how many, at which price, under which root."""
    entries = basis.entries
    return {
        "kind": "usage",
        "model": use.model,
        "package": use.package,
        "price_version": use.price["version"],
        "price_micros": use.price["rate"],
        **({"plan": use.plan["kind"], "steps": use.steps, "metered_micros": use.metered} if use.steps else {}),
        "units": use.units,
        "requests": use.requests,
        "late": use.late,
        **({"repeats": use.repeats} if use.repeats else {}),
        "exact_micros": use.exact,
        "amount_micros": round_half_even_minor(use.exact, basis.currency),
        "merkle_root": root_of([leaf_hash(bytes.fromhex(group.root)) for _, _, group in use.seals]).hex(),
        "seals": [
            {
                "entry": entries[number - 1] if number <= len(entries) else "",
                "month": month,
                "rows": group.requests,
                "root": group.root,
            }
            for number, month, group in use.seals
        ],
    }


def _model_minimums(uses: Sequence[Use], lines: Sequence[dict[str, Any]], basis: Basis) -> list[dict[str, Any]]:
    """What a model with a minimum lacks, in a month in which it was used; the newest price version's minimum holds."""
    least: dict[str, tuple[int, int]] = {}
    for use in uses:
        least[use.base] = max(least.get(use.base, (0, 0)), (use.price["version"], int(use.plan.get("minimum", 0))))
    found = []
    for base, (_, minimum) in sorted(least.items()):
        came_to = sum(line["amount_micros"] for line in lines if line.get("model", "").partition("@")[0] == base)
        if came_to < minimum:
            found.append(
                _line("minimum", round_half_even_minor(minimum - came_to, basis.currency), model=base, minimum_micros=minimum)
            )
    return found


def _discount_and_minimum(lines: Sequence[dict[str, Any]], basis: Basis) -> list[dict[str, Any]]:
    """The customer's discount on all lines so far, and what its minimum lacks after that."""
    found = []
    came_to = sum(line["amount_micros"] for line in lines)
    if basis.agreed.discount_ppm and came_to:
        off = share(came_to, basis.agreed.discount_ppm, basis.currency)
        found.append(_line("discount", -off, rate_ppm=basis.agreed.discount_ppm, base_micros=came_to))
        came_to -= off
    if came_to < basis.agreed.minimum_micros:
        found.append(
            _line(
                "minimum",
                round_half_even_minor(basis.agreed.minimum_micros - came_to, basis.currency),
                model="",
                minimum_micros=basis.agreed.minimum_micros,
            )
        )
    return found
