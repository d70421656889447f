"""What a model should cost, worked out from what it cost to make and what it costs to serve; and what it leaves by customer.

Making is the cost of all runs behind all versions, spread over the units that are expected; serving is the machine's time for a
unit by the speed measured at packaging. Both are at the rates that are set (``mofang rates``); nothing is made up: without a rate
or a measurement there is no suggestion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mofang.core.errors import MofangError
from mofang.core.money import LARGEST_MICROS, PER_UNITS
from mofang.core.rule import Rule
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customers
from mofang.trade.accounts.lists import open_books
from mofang.trade.pricing.costs import by_model, money_of
from mofang.trade.pricing.plans import UNITS_MOST
from mofang.trade.pricing.prices import prices

THOUSAND = 1000
NICE = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)


@dataclass(frozen=True)
class Share:
    """What one customer's use of a model earned and cost, in micros; ``margin`` None while a cost is not known."""

    customer: str
    units: int
    earned: int
    serving: int
    making: int

    @property
    def margin(self) -> int:
        """What is left."""
        return self.earned - self.serving - self.making


@dataclass(frozen=True)
class Suggestion:
    """Costs of a thousand units and a price that leaves the margin, in micros. ``now`` is the price that holds, if any."""

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
    shares: tuple[Share, ...]

    @property
    def cost_per_1000(self) -> int:
        """Making and serving together."""
        return self.making_per_1000 + self.serving_per_1000


def suggest(
    shop: Shop, model: str, expected_units: Annotated[int, Rule(ge=1, le=UNITS_MOST)], margin_percent: int = 50
) -> Suggestion:
    """What a thousand units should cost, so that of the price so many per cent are left when the expected units are sold.

    Raises ``suggest-no-rate`` where no machine rate is set, ``suggest-not-measured`` where no version was measured, and
    ``suggest-margin``.
    """
    if not 0 <= margin_percent <= 95 or not 0 < expected_units <= UNITS_MOST:
        raise MofangError("suggest-margin", margin=margin_percent)
    db = open_books(shop)
    named = shop.named(model, "package")
    if shop.rates.get("machine_hour_micros") is None:
        raise MofangError("suggest-no-rate")
    speed = shop.ledger.get(named.entry).body.get("measures", {}).get("samples_per_s")
    if not speed:
        raise MofangError("suggest-not-measured", model=str(named))
    line = next(one for one in by_model(shop) if one.name == named.name)
    making = line.making or 0
    serving = money_of(shop, THOUSAND / float(speed), 0.0) or 0
    spread = -(-making * THOUSAND // expected_units)
    wanted = -(-(spread + serving) * 100 // (100 - margin_percent))
    now = prices(db, named.name)
    return Suggestion(
        named.name,
        expected_units,
        margin_percent,
        making,
        spread,
        serving,
        _nice(wanted),
        now[-1].rate * THOUSAND // PER_UNITS if now else None,
        float(speed),
        line.estimated,
        _shares(shop, named.name, making, serving, max(expected_units, line.units)),
    )


def _shares(shop: Shop, model: str, making: int, serving_per_1000: int, units_of_all: int) -> tuple[Share, ...]:
    """By customer: what its units earned, their serving, and their part of making over all that is expected."""
    names = {one.id: one.name for one in customers(shop.control)}
    sql = "select account, model, sum(units), sum(micros) from usage_day where test=0 group by account, model"
    units: dict[str, int] = {}
    earned: dict[str, int] = {}
    for account, name, count, micros in shop.control.rows(sql):
        if name.partition("@")[0] == model:
            units[account] = units.get(account, 0) + int(count)
            earned[account] = earned.get(account, 0) + int(micros)
    return tuple(
        Share(
            names.get(account, account),
            count,
            earned[account],
            count * serving_per_1000 // THOUSAND,
            count * making // units_of_all,
        )
        for account, count in sorted(units.items())
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
