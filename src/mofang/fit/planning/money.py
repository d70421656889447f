"""What a run costs: by the shop's own rates, rented by the hour, or owned and written off. Nothing is converted between
currencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mofang.core.money import format_micros
from mofang.fit.planning.hardware import Device

YEARS, BUSY = 4.0, 0.6
KWH = 0.10
OWNED = f"written off over {YEARS:g} years at {BUSY:.0%} use, and ${KWH:.2f} a kWh: assumed"


@dataclass(frozen=True)
class Money:
    """An amount in micros of a currency (None: nobody has said what an hour costs) and how it was found."""

    micros: int | None
    currency: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with the amount in words."""
        shown = None if self.micros is None else format_micros(self.micros // 10_000 * 10_000 or self.micros, self.currency)
        return {"micros": self.micros, "currency": self.currency, "money": shown, "source": self.source}


def by_rates(rates: Mapping[str, Any], currency: str, wall_s: float, kwh: float) -> Money:
    """With what the shop says an hour of its machine and a kWh cost, as every run is booked."""
    hour, per_kwh = rates.get("machine_hour_micros"), rates.get("kwh_micros") or 0
    if hour is None:
        return Money(None, currency, "rate not set: mofang rates --machine-hour ¥3")
    return Money(round(wall_s * hour / 3600 + kwh * per_kwh), currency, "the shop's own rates (mofang rates)")


def rented(device: Device, devices: int, hours: float, hour: float | None = None) -> Money:
    """So many devices for so many hours, in dollars; ``hour`` is a price of one's own."""
    if hour is not None:
        return Money(round(devices * hours * hour * 1e6), "USD", f"${hour:g} a device and hour, as given")
    if device.rent is None:
        return Money(None, "USD", "no rent known: give one with --hour")
    return Money(
        round(devices * hours * device.rent * 1e6), "USD", f"${device.rent:g} a device and hour: {device.rent_source}"
    )


def owned(device: Device, devices: int, hours: float, kwh: float, price: float | None = None) -> Money:
    """Bought devices written off over the years they are used, and their electricity, in dollars."""
    paid = device.price if price is None else price
    if paid is None:
        return Money(None, "USD", "what one costs to buy is not known: give it with --price")
    share = hours / (YEARS * 8760 * BUSY)
    return Money(round((devices * paid * share + kwh * KWH) * 1e6), "USD", f"${paid:g} a device, {OWNED}")
