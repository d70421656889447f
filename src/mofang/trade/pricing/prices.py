"""Prices: versioned and never changed. A new price is a new version from a moment on; what was charged stays charged.

A price is a whole number of micros per 10**6 units of a model, whatever its version: ``reviews`` has a price, and
``reviews@1`` and ``reviews@2`` are both sold at it. Tiers, packages, included units and a minimum (``plans``) stand beside
it as ``plan``; then ``rate`` is the most that a unit can cost, which is what the meter holds back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mofang.core.action import Act, action, turn
from mofang.core.canonical import canonical
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.money import MICROS, PER_UNITS, charge, format_micros, known
from mofang.trade.accounts.customers import Customer
from mofang.trade.pricing.plans import UNIT, cost, is_plain, read_plan

EXAMPLES = (1, 40_000)

TABLES = (
    """create table if not exists price(model text not null, version bigint not null, rate bigint not null,
        currency text not null, from_us bigint not null, primary key(model, version))""",
    """create table if not exists price_output(model text not null, version bigint not null, units bigint not null,
        primary key(model, version))""",
    """create table if not exists price_plan(model text not null, version bigint not null, plan text not null,
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
    plan: dict[str, Any] = field(default_factory=lambda: dict(UNIT), hash=False)

    @property
    def postpaid(self) -> bool:
        """Whether what a unit costs is known at the month's end only, so that it is sold on credit and not out of a balance."""
        return not is_plain(self.plan)

    def amount(self, units: int) -> int:
        """What a month of so many units comes to, in micros."""
        return cost(self.plan, self.rate, units) // PER_UNITS

    def cost(self, units: int) -> str:
        """What that many units cost, as people write it: ``¥0.005``."""
        return format_micros(charge(units, self.rate)[0], self.currency)

    def exact(self, units: int) -> str:
        """The exact price of some units as a decimal number without a currency mark: ``0.005``."""
        return exact_decimal(units * self.rate)

    def examples(self) -> list[tuple[int, str]]:
        """What 1 and 40,000 calls of one unit cost; shown when the price is set, so that a slip is seen."""
        return [(calls, format_micros(self.amount(calls), self.currency) if self.postpaid else self.cost(calls))
                for calls in EXAMPLES]


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
        if "plan" in body:
            db.run("insert into price_plan values(?,?,?)", (body["model"], body["version"], canonical(body["plan"]).decode()))


def prices(db: Database, model: str = "") -> list[Price]:
    """All versions of all prices, or of one model's, oldest first."""
    condition, params = (" where price.model=?", (model,)) if model else ("", ())
    found = db.rows(f"""select price.model, price.version, rate, currency, from_us, coalesce(units, 1), plan from price
        left join price_output on price_output.model=price.model and price_output.version=price.version
        left join price_plan on price_plan.model=price.model and price_plan.version=price.version{condition}
        order by price.model, price.version""", params)
    return [Price(base, version, rate, code, from_us, output, json.loads(plan) if plan else dict(UNIT))
            for base, version, rate, code, from_us, output, plan in found]


def price_at(versions: tuple[Price, ...] | list[Price], at_us: int) -> Price | None:
    """The version that holds at a moment: the newest of those that have begun."""
    for price in reversed(versions):
        if price.from_us <= at_us:
            return price
    return None


def require_credit(price: Price, customer: Customer) -> None:
    """Refuse a price with tiers, packages, included units or a minimum to who pays in advance: ``price-needs-postpaid``."""
    if price.postpaid and not customer.credit_micros:
        raise MofangError("price-needs-postpaid", model=price.model, customer=customer.name)


@action(may="money")
def price_set(act: Act, *, model: str, price: str = "", currency: str = "CNY", starts: str = "", output: int = 0, tiers: str = "",
              volume: str = "", package: str = "", included: int = 0, minimum: str = "") -> Price:
    """Set a model's price from now on, or from a moment in the future.

    One of ``price`` (per unit, such as ``5.00/1000``), ``tiers`` (graduated, ``0-1000:2.00, 1000-:1.50``: each unit at the
    price of its tier), ``volume`` (the same text: all units at the price of the tier that a month reaches) and ``package``
    (``1000:5.00``: each package begun). Beside it ``included`` units a month are free, and a month with use costs at least
    ``minimum``. ``starts`` is such as ``2026-01-01`` or ``2026-01-01T08:00+08:00`` (UTC where no zone is given). Versions begin
    in their order, and none begins in the past: what was used keeps its price. ``output`` says how many units a token counts
    as that a generator writes (0: as many as before, at first 1).
    """
    if not 0 <= output <= OUTPUT_MAX:
        raise MofangError("price-output", output=output, most=OUTPUT_MAX)
    rate, plan = read_plan(known(currency), price=price, tiers=tiers, volume=volume, package=package, included=included,
                           minimum=minimum)
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
        new = Price(base, len(before) + 1, rate, currency, from_us, output or (before[-1].output if before else 1), plan)
        body = {"model": base, "version": new.version, "rate": rate, "currency": currency, "from_us": from_us,
                **({"output": new.output} if new.output != 1 else {}), **({"plan": plan} if new.postpaid else {})}
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
