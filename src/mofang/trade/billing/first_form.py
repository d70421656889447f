"""Bills of the first form, as they were made before price plans: made again byte for byte, and no longer issued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mofang.core.artifact import Sealed
from mofang.core.errors import MofangError
from mofang.core.merkle import Tree
from mofang.core.money import PER_UNITS, round_half_even_minor
from mofang.trade.billing.amounts import price_of, sums
from mofang.trade.billing.billed import Bill, UsageRow, bill_of


@dataclass
class Line:
    """One line while it grows. The exact amount is the sum of what was debited, in micros."""

    model: str
    package: str
    price: dict[str, Any]
    units: int = 0
    requests: int = 0
    exact_micros: int = 0
    late: int = 0
    repeats: int = 0
    seals: dict[int, int] = field(default_factory=dict)
    tree: Tree = field(default_factory=Tree)

    def add(self, row: UsageRow, late: bool) -> None:
        """Count one row, after its charge was checked against the price."""
        units, micros = row.body["units"], row.body["micros"]
        whole = units * self.price["rate"] // PER_UNITS
        if micros not in (whole, whole + 1):  # one more where a carried remainder filled up
            raise MofangError("usage-charge-wrong", row=row.id, micros=micros, expected=whole)
        self.units += units
        self.requests += 1
        self.exact_micros += micros
        self.late += late
        self.repeats += bool(row.body.get("repeat"))
        self.seals[row.seal] = self.seals.get(row.seal, 0) + 1
        self.tree.add(row.leaf())


def charges(
    rows: Iterable[UsageRow],
    who: dict[str, Any],
    prices: dict[tuple[str, int], dict[str, Any]],
    bills: Sequence[Bill],
    period: str,
    usage: Sequence[Sealed] = (),
) -> dict[str, Any]:
    """The part of a bill that is arithmetic: its lines, their exact sum, the rounding and the total.

    The rows must come in the order of their seals; ``bills`` are this account's, the one to be made last.
    """
    lines: dict[tuple[str, str, int], Line] = {}
    tests = 0
    for row in rows:
        if bill_of(row, bills) != len(bills) - 1:
            continue
        if row.body["test"]:
            tests += 1
            continue
        model, package = row.body["model"], row.body["package"]
        price = price_of(prices, model, row.body["price"], who["currency"], row.id)
        line = lines.setdefault((model, package, price["version"]), Line(model, package, price))
        line.add(row, late=row.at_us < bills[-1].from_us)
    if not lines:
        raise MofangError("usage-none", customer=who["name"], period=period, tests=tests)
    finished = [
        _finished(at, line, who["currency"], usage)
        for at, (_, line) in enumerate(sorted(lines.items()), start=1)
    ]
    return sums(finished, who["currency"])


def _finished(at: int, line: Line, currency: str, usage: Sequence[Sealed]) -> dict[str, Any]:
    sealed_by = {number: one.entry for number, one in enumerate(usage, start=1)}
    return {
        "line": at,
        "model": line.model,
        "package": line.package,
        "price_version": line.price["version"],
        "price_micros": line.price["rate"],
        "units": line.units,
        "requests": line.requests,
        "late": line.late,
        **({"repeats": line.repeats} if line.repeats else {}),
        "exact_micros": line.exact_micros,
        "amount_micros": round_half_even_minor(line.exact_micros, currency),
        "merkle_root": line.tree.root().hex(),
        "seals": [
            {"entry": sealed_by.get(number, ""), "rows": rows} for number, rows in sorted(line.seals.items())
        ],
    }
