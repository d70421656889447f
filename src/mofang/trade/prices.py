"""Prices: versioned and never changed. A new price is a new version from a moment on; what was charged stays charged.

A price is a whole number of micros per 10**6 units of a model, whatever its version: ``reviews`` has a price, and
``reviews@1`` and ``reviews@2`` are both sold at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import MICROS, PER_UNITS, charge, format_micros, known, parse_price

EXAMPLES = (1, 40_000)

TABLES = (
    """create table if not exists price(model text not null, version bigint not null, rate bigint not null,
        currency text not null, from_us bigint not null, primary key(model, version))""",
    """create table if not exists price_output(model text not null, version bigint not null, units bigint not null,
        primary key(model, version))""",
)
OUTPUT_MAX = 1000


@dataclass(frozen=True)
class Price:
    """One version of a model's price: ``rate`` micros per 10**6 units, from ``from_us`` on."""

    model: str
    version: int
    rate: int
    currency: str
    from_us: int
    output: int = 1  # units that a token which the model writes counts as

    def cost(self, units: int) -> str:
        """What that many units cost, as people write it: ``¥0.005``."""
        return format_micros(charge(units, self.rate)[0], self.currency)

    def exact(self, units: int) -> str:
        """The exact price of some units as a decimal number without a currency mark: ``0.005``."""
        return exact_decimal(units * self.rate)

    def examples(self) -> list[tuple[int, str]]:
        """What 1 and 40,000 calls of one unit cost; shown when the price is set, so that a slip is seen."""
        return [(calls, self.cost(calls)) for calls in EXAMPLES]


def exact_decimal(trillionths: int) -> str:
    """Millionths of a micro as a decimal number of the currency, with no more digits than it needs."""
    whole, part = divmod(trillionths, MICROS * PER_UNITS)
    return f"{whole}.{part:012d}".rstrip("0").rstrip(".") if part else str(whole)


@fold("prices", tables=TABLES)
def fold_prices(db: Database, rows: list[Row]) -> None:
    """Each row is a new version."""
    for row in rows:
        body = row.body
        db.run("insert into price values(?,?,?,?,?)",
               (body["model"], body["version"], body["rate"], body["currency"], body["from_us"]))
        if "output" in body:
            db.run("insert into price_output values(?,?,?)", (body["model"], body["version"], body["output"]))


def prices(db: Database, model: str = "") -> list[Price]:
    """All versions of all prices, or of one model's, oldest first."""
    condition, params = (" where price.model=?", (model,)) if model else ("", ())
    found = db.rows(f"""select price.model, price.version, rate, currency, from_us, coalesce(units, 1) from price
        left join price_output on price_output.model=price.model and price_output.version=price.version{condition}
        order by price.model, price.version""", params)
    return [Price(*row) for row in found]


def price_at(versions: tuple[Price, ...] | list[Price], at_us: int) -> Price | None:
    """The version that holds at a moment: the newest of those that have begun."""
    for price in reversed(versions):
        if price.from_us <= at_us:
            return price
    return None


@action(may="money")
def price_set(act: Act, *, model: str, price: str, currency: str = "CNY", starts: str = "", output: int = 0) -> Price:
    """Set a model's price per unit from now on, or from a moment in the future.

    ``price`` is such as ``5.00/1000``; ``starts`` such as ``2026-01-01`` or ``2026-01-01T08:00+08:00`` (UTC where no
    zone is given). Versions begin in their order, and none begins in the past: what was used keeps its price. ``output``
    says how many units a token counts as that a generator writes (0: as many as before, at first 1).
    """
    if not 0 <= output <= OUTPUT_MAX:
        raise MofangError("price-output", output=output, most=OUTPUT_MAX)
    rate = parse_price(price, known(currency))
    base = model.partition("@")[0]
    with turn(act, "prices") as db:
        before = prices(db, base)
        now = now_us()
        from_us = _moment(starts) if starts else now
        if from_us < now:
            raise MofangError("price-in-the-past", starts=starts)
        if before and from_us < before[-1].from_us:
            raise MofangError("price-out-of-order", model=base, version=before[-1].version)
        if before and before[-1].currency != currency:
            raise MofangError("price-currency", model=base, currency=before[-1].currency)
        new = Price(base, len(before) + 1, rate, currency, from_us, output or (before[-1].output if before else 1))
        body = {"model": base, "version": new.version, "rate": rate, "currency": currency, "from_us": from_us,
                **({"output": new.output} if new.output != 1 else {})}
        act.record("prices", NewRow("price", body))
    return new


def _moment(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 date or time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise MofangError("moment-unreadable", text=text) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp()) * 1_000_000
