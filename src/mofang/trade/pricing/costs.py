"""What models, customers and months earned, and what making and serving them cost.

Making a model cost what all runs behind all its versions cost, each counted once. Serving is an estimate: units by the
speed that was measured when the model was packaged, and the energy of the cores that the measured engine keeps busy. Where
no machine rate is set there is no money to speak of, and nothing is made up: the figure is None, on the screen "rate not set".
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mofang.core.history import Spent, spent_by_day
from mofang.core.lineage import elsewhere_line, lineage_cost
from mofang.core.run import Cost
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import credit_notes, customers
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.billing.claims import invoices_of


@dataclass(frozen=True)
class Line:
    """One model, customer or month. Money in micros; None where it is not known. ``estimated``: by today's rates.

    ``serving_s`` is None where no version of the model was measured.
    """

    name: str
    requests: int = 0
    units: int = 0
    test_requests: int = 0
    earned: int = 0
    given_back: int = 0
    billed: int | None = None
    making: int | None = None
    making_s: float | None = None
    serving: int | None = None
    serving_s: float | None = None
    estimated: bool = False
    elsewhere: str = ""  # what other shops spent on an imported model, in their own money

    @property
    def margin(self) -> int | None:
        """What is left of what was earned; None while a cost is not known."""
        if self.making is None:
            return None
        return self.earned - self.given_back - self.making - (self.serving or 0)


def money_of(shop: Shop, wall_s: float, energy_wh: float) -> int | None:
    """What so much compute costs at today's rates; None without a machine rate."""
    per_hour: int | None = shop.rates.get("machine_hour_micros")
    if per_hour is None:
        return None
    return round(wall_s * per_hour / 3600 + energy_wh / 1000 * (shop.rates.get("kwh_micros") or 0))


def serving_cost(shop: Shop, package: str, units: int) -> int | None:
    """What answering so many units takes of the machine's time and energy, in micros, by what was measured when the package was
    made; None without a rate or a measurement."""
    measures = shop.ledger.get(package).body.get("measures", {})
    speed = measures.get("samples_per_s")
    if not speed:
        return None
    seconds = units / float(speed)
    return money_of(shop, seconds, energy_wh(measures, seconds))


def energy_wh(measures: dict[str, Any], seconds: float) -> float:
    """Energy of so many seconds of serving: the cores that the measured engine kept busy, each at the watts that a run counts."""
    cores = int(measures.get("threads") or 1) * int(measures.get("streams") or 1)
    return seconds * cores * Cost.WATTS_PER_CORE / 3600


def money_spent(shop: Shop, spent: Spent) -> tuple[int | None, bool]:
    """What some days' runs cost, and whether part of it is counted by today's rates."""
    if not spent.unpriced_runs:
        return spent.micros, False
    rest = money_of(shop, spent.unpriced_s, spent.unpriced_wh)
    return (None, False) if rest is None else (spent.micros + rest, True)


def by_model(shop: Shop) -> list[Line]:
    """Every model that was named or asked, by name."""
    open_books(shop)
    used: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    sql = "select model, test, sum(requests), sum(units), sum(micros) from usage_day group by model, test"
    for row in shop.control.rows(sql):
        used[row[0].partition("@")[0]].append(row)
    packages: dict[str, dict[str, str]] = defaultdict(dict)
    for one in shop.names("package"):
        packages[one.name][str(one)] = one.entry
    return [_model(shop, name, used[name], packages[name]) for name in sorted({*used, *packages})]


def _model(shop: Shop, name: str, used: list[tuple[Any, ...]], packages: dict[str, str]) -> Line:
    cost = lineage_cost(shop.ledger, *packages.values())
    making: int | None = cost["micros"]
    estimated = False
    if making is None:
        making, estimated = money_of(shop, cost["wall_s"], cost["energy_wh"]), True
    serving_s, serving_wh = _serving(shop, used, packages)
    return Line(name, earned=_sum(used, 4, 0), requests=_sum(used, 2, 0), units=_sum(used, 3, 0), test_requests=_sum(used, 2, 1),
                making=making if packages else None, making_s=cost["wall_s"] if packages else None,
                serving=None if serving_s is None else money_of(shop, serving_s, serving_wh), serving_s=serving_s,
                estimated=estimated and making is not None, elsewhere=elsewhere_line(cost))


def _serving(shop: Shop, used: list[tuple[Any, ...]], packages: dict[str, str]) -> tuple[float | None, float]:
    """Seconds of engine time that the answered units took, by the speed measured at packaging; and watt-hours."""
    total, energy, known = 0.0, 0.0, False
    for model, _, _, units, _ in used:
        if model in packages:
            measures = shop.ledger.get(packages[model]).body.get("measures", {})
            if measures.get("samples_per_s"):
                seconds = int(units) / float(measures["samples_per_s"])
                total, energy, known = total + seconds, energy + energy_wh(measures, seconds), True
    return (round(total, 3) if known else None), energy


def by_customer(shop: Shop) -> list[Line]:
    """Every customer: what its answers earned, was billed and was given back. Compute belongs to models, not to them."""
    open_books(shop)
    used: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    sql = "select account, test, sum(requests), sum(units), sum(micros) from usage_day group by account, test"
    for row in shop.control.rows(sql):
        used[row[0]].append(row)
    billed: dict[str, int] = defaultdict(int)
    for claim in invoices_of(shop.control):
        billed[claim.account] += claim.total_micros
    back: dict[str, int] = defaultdict(int)
    for note in credit_notes(shop.control):
        back[note.customer] += note.micros
    return [Line(one.name, earned=_sum(used[one.id], 4, 0), requests=_sum(used[one.id], 2, 0), units=_sum(used[one.id], 3, 0),
                 test_requests=_sum(used[one.id], 2, 1), billed=billed[one.id], given_back=back[one.id])
            for one in customers(shop.control)]


def by_month(shop: Shop) -> list[Line]:
    """Every month on the shop's clock: earned, and what its runs cost."""
    from mofang.core.clock import day_of
    from mofang.core.history import sum_days

    open_books(shop)
    used: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    sql = "select day, test, sum(requests), sum(units), sum(micros) from usage_day group by day, test"
    for row in shop.control.rows(sql):
        used[row[0][:7]].append(row)
    back: dict[str, int] = defaultdict(int)
    for note in credit_notes(shop.control):
        back[day_of(note.at_us, shop_offset(shop))[:7]] += note.micros
    ran: dict[str, list[Spent]] = defaultdict(list)
    for day, spent in spent_by_day(shop.ledger, shop_offset(shop)):
        ran[day[:7]].append(spent)
    lines = []
    for month in sorted({*used, *ran, *back}):
        spent = sum_days(ran[month])
        making, estimated = money_spent(shop, spent)
        lines.append(Line(month, earned=_sum(used[month], 4, 0), requests=_sum(used[month], 2, 0), units=_sum(used[month], 3, 0),
                          test_requests=_sum(used[month], 2, 1), given_back=back[month], making=making,
                          making_s=round(spent.wall_s, 3), estimated=estimated))
    return lines


def _sum(rows: list[tuple[Any, ...]], column: int, test: int) -> int:
    return sum(int(row[column]) for row in rows if row[1] == test)
