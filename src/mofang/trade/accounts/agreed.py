"""Agreeing with a customer on a discount, a tax rate, a least amount a month and subscriptions; ``terms`` holds the facts."""

from __future__ import annotations

import re
from datetime import date, timedelta
from fractions import Fraction
from typing import Annotated

from mofang.core.action import Act, action, turn
from mofang.core.clock import day_of
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.money import parse_amount
from mofang.core.rule import Rule
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import shop_offset
from mofang.trade.accounts.terms import Agreed, Subscription, agreement, subscriptions
from mofang.trade.pricing.plans import UNITS_MOST

MILLION = 1_000_000
WORD_MOST = 40
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*[%％]?")


def percent(text: str) -> int:
    """``6%``, ``13`` or ``8.875 %`` in parts per million. Raises ``percent-unreadable``."""
    match = _PERCENT.fullmatch(text.strip())
    ppm = Fraction(match[1]) * 10_000 if match else Fraction(-1)
    if not 0 <= ppm <= MILLION:
        raise MofangError("percent-unreadable", text=text)
    return int(ppm)


@action(may="money")
def customer_agree(
    act: Act, *, customer: str, discount: str = "", tax: str = "", tax_name: str = "", minimum: str = "", segment: str = ""
) -> Agreed:
    """Agree on a discount, a tax rate or a least amount a month; what is left out stays as it is, ``0`` takes it away.

    ``discount`` and ``tax`` are per cent with at most four decimals (``10%``, ``8.875``); ``tax_name`` stands on the tax's line
    (``增值税``, ``VAT``). They hold for months that end from now on. ``segment`` is a word for your own tables.
    """
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        before = agreement(db, found.id)
        if max(len(tax_name.strip()), len(segment.strip())) > WORD_MOST:
            raise MofangError("word-too-long", most=WORD_MOST)
        new = Agreed(
            percent(discount) if discount.strip() else before.discount_ppm,
            percent(tax) if tax.strip() else before.tax_ppm,
            tax_name.strip() or before.tax_name,
            parse_amount(minimum, found.currency) if minimum.strip() else before.minimum_micros,
            segment.strip() or before.segment,
        )
        act.record("customers", NewRow("agreed", dict(new.__dict__), account=found.id))
    return new


Day = Annotated[str, Rule(pattern=r"^(20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$")]


@action(may="money")
def customer_subscribe(
    act: Act,
    *,
    customer: str,
    model: str,
    monthly: str,
    included: Annotated[int, Rule(ge=0, le=UNITS_MOST)] = 0,
    starts: Day = "",
    ends: Day = "",
) -> Subscription:
    """Have a customer pay a monthly fee for a model, with a number of units in it; what goes beyond is charged at its price.

    Days are on the shop's clock; ``starts`` is today if left out, ``ends`` the last day. A month in which it runs on
    some days only costs that share of the fee and holds that share of the units. Raises ``subscription-exists`` where one
    for this model runs on, ``subscription-until`` where its last day has not passed: each day is on one fee.
    """
    base = model.partition("@")[0]
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        first = _day(starts) or day_of(now_us(), shop_offset(act.shop))
        last = _day(ends)
        if last and last < first:
            raise MofangError("subscription-days", first=first, last=last)
        for one in subscriptions(db, found.id):
            if one.model == base and (not one.last or one.last >= first) and (not last or one.first <= last):
                if one.last and one.first <= first:  # ended already, which is what the other wording would ask for
                    after = (date.fromisoformat(one.last) + timedelta(days=1)).isoformat()
                    raise MofangError("subscription-until", customer=found.name, model=base, last=one.last, next=after)
                raise MofangError(
                    "subscription-exists", customer=found.name, model=base, first=one.first, last=one.last or "∞"
                )
        fee = parse_amount(monthly, found.currency)
        body = {"account": found.id, "model": base, "monthly_micros": fee, "included": included, "first": first, "last": last}
        row = act.record("customers", NewRow("subscribe", body, account=found.id))[0]
    return Subscription(row.id, found.id, base, fee, included, first, last)


@action(may="money")
def customer_unsubscribe(act: Act, *, customer: str, model: str, ends: Day = "") -> Subscription:
    """End a customer's subscription to a model after a day (today if left out). Raises ``subscription-none``."""
    base = model.partition("@")[0]
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        last = _day(ends) or day_of(now_us(), shop_offset(act.shop))
        running = [one for one in subscriptions(db, found.id) if one.model == base and (not one.last or one.last > last)]
        if not running:
            raise MofangError("subscription-none", customer=found.name, model=base)
        one = running[-1]
        if last < one.first:
            raise MofangError("subscription-days", first=one.first, last=last)
        act.record("customers", NewRow("unsubscribe", {"subscription": one.id, "last": last}, account=found.id))
    return Subscription(**{**one.__dict__, "last": last})


def _day(text: str) -> str:
    """A calendar day, checked (the 30th of February is none). Raises ``moment-unreadable``."""
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise MofangError("moment-unreadable", text=text) from None
