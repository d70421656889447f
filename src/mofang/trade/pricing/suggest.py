"""What a model should cost, worked out from what it cost to make and what it costs to serve; and what each way of selling left.

Making is the cost of all runs behind all versions, spread over the units that are expected; serving is the machine's time and
energy for a unit by what was measured at packaging. Both are at the rates that are set (``mofang rates``); nothing is made up:
without a rate or a measurement there is no suggestion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from mofang.core.errors import MofangError
from mofang.core.lineage import lineage_cost
from mofang.core.money import LARGEST_MICROS, PER_UNITS
from mofang.core.rule import Rule
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books
from mofang.trade.pricing.costs import by_model, serving_cost
from mofang.trade.pricing.plans import UNITS_MOST
from mofang.trade.pricing.prices import prices
from mofang.trade.pricing.ways import Way, by_way

THOUSAND = 1000
NICE = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)


@dataclass(frozen=True)
class Suggestion:
    """Costs of a thousand units and a price that leaves the margin, in micros. ``now`` is the price that holds, if any.

    ``cpu_s``, ``gpu_s`` and ``energy_wh`` are what making took, as its runs measured it; ``ways`` what each way of selling left.
    """

    model: str
    expected_units: int
    margin_percent: int
    making: int
    making_per_1000: int
    serving_per_1000: int
    price_per_1000: int
    now_per_1000: int | None
    samples_per_s: float
    estimated: bool
    cpu_s: float
    gpu_s: float
    energy_wh: float
    ways: tuple[Way, ...]

    @property
    def cost_per_1000(self) -> int:
        """Making and serving together."""
        return self.making_per_1000 + self.serving_per_1000


def suggest(shop: Shop, model: str, expected_units: Annotated[int, Rule(ge=0, le=UNITS_MOST)] = 0, margin_percent: int = 50,
            tick: Callable[[], None] = lambda: None) -> Suggestion:
    """What a thousand units should cost, so that of the price so many per cent are left when the expected units are sold.

    ``expected_units`` 0 stands for as many as were sold so far. Raises ``suggest-volume`` where none were, ``suggest-no-rate``
    where no machine rate is set, ``suggest-not-measured`` where no version was measured, and ``suggest-margin``.
    """
    if not 0 <= margin_percent <= 95 or not 0 <= expected_units <= UNITS_MOST:
        raise MofangError("suggest-margin", margin=margin_percent)
    db = open_books(shop)
    named = shop.named(model, "package")
    if shop.rates.get("machine_hour_micros") is None:
        raise MofangError("suggest-no-rate")
    measures = shop.ledger.get(named.entry).body.get("measures", {})
    serving = serving_cost(shop, named.entry, THOUSAND)
    if serving is None:
        raise MofangError("suggest-not-measured", model=str(named))
    line = next(one for one in by_model(shop) if one.name == named.name)
    units = expected_units or line.units
    if not units:
        raise MofangError("suggest-volume", model=named.name)
    making = line.making or 0
    spread = -(-making * THOUSAND // units)
    wanted = -(-(spread + serving) * 100 // (100 - margin_percent))
    now = prices(db, named.name)
    behind = lineage_cost(shop.ledger, *(one.entry for one in shop.names("package") if one.name == named.name))
    return Suggestion(
        named.name,
        units,
        margin_percent,
        making,
        spread,
        serving,
        _nice(wanted),
        now[-1].rate * THOUSAND // PER_UNITS if now else None,
        float(measures["samples_per_s"]),
        line.estimated,
        behind["cpu_s"],
        behind["gpu_s"],
        behind["energy_wh"],
        tuple(by_way(shop, named.name, tick)),
    )


def _nice(micros: int) -> int:
    """The next price up that is easily said: two figures at most."""
    if micros <= 0:
        return 0
    scale: int = 1
    while micros > 100 * scale:
        scale *= 10
    found: int = min(LARGEST_MICROS, next(one * scale for one in (*range(1, 10), *NICE) if one * scale >= micros))
    return found
