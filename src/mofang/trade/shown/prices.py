"""Prices in words: every version with its plan, what one and forty thousand calls cost, and who set it when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mofang.core.identity import now_us
from mofang.core.language import say
from mofang.core.money import format_micros, format_price
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books
from mofang.trade.pricing.prices import Price, price_at, prices
from mofang.trade.shown.listing import Choice


@dataclass(frozen=True)
class Row:
    """One version of a model's price. ``state``: ``holds`` now, ``comes`` later, ``past``; ``plan`` says it in words."""

    price: Price
    state: str
    plan: tuple[str, ...]
    by: str
    set_us: int


@dataclass(frozen=True)
class Priced:
    """A model with its versions, the newest first, and the one that holds now (None where none has begun)."""

    model: str
    now: Row | None
    rows: tuple[Row, ...]


CHOICE: Choice[Priced] = Choice({"model": lambda one: one.model.casefold()}, "model", {}, lambda one: one.model)


def priced_models(shop: Shop) -> list[Priced]:
    """Every model that has a price."""
    db = open_books(shop)
    who = {(row.body["model"], row.body["version"]): (str(row.body.get("by", "")), row.at_us)
           for row in shop.journals.rows("prices") if row.kind == "price"}
    versions: dict[str, list[Price]] = {}
    for price in prices(db):
        versions.setdefault(price.model, []).append(price)
    at_us = now_us()
    found = []
    for model, own in sorted(versions.items()):
        holds = price_at(own, at_us)
        rows = tuple(_row(price, holds, at_us, *who.get((model, price.version), ("", 0))) for price in reversed(own))
        found.append(Priced(model, next((one for one in rows if one.state == "holds"), None), rows))
    return found


def _row(price: Price, holds: Price | None, at_us: int, by: str, set_us: int) -> Row:
    state = "holds" if price == holds else "comes" if price.from_us > at_us else "past"
    return Row(price, state, tuple(plan_words(price)), by, set_us)


def plan_words(price: Price) -> list[str]:
    """A price as people say it, a sentence for each part of its plan."""
    plan, currency = price.plan, price.currency
    said = [_kind_words(price)]
    if plan.get("included"):
        said.append(say("{n} units a month are included", "每月含 {n} 单位", n=f"{plan['included']:,}"))
    if plan.get("minimum"):
        said.append(say("a month with use costs at least {money}", "有用量的月份最低 {money}",
                        money=format_micros(plan["minimum"], currency)))
    if price.output > 1:
        said.append(say("a token that is written costs as {n} that are read", "每个生成的词元按 {n} 个读入的词元计", n=price.output))
    return said


def _kind_words(price: Price) -> str:
    plan, currency = price.plan, price.currency
    if plan["kind"] == "unit":
        plain = format_price(price.rate, currency)
        return plain if "/" in plain else say("{price} a unit", "每单位 {price}", price=plain)
    if plan["kind"] == "package":
        return say("{money} for each {size} units that are begun", "每 {size} 单位 {money}，不足按一份计", size=f"{plan['size']:,}",
                   money=format_micros(plan["micros"], currency))
    tiers = say("; ", "；").join(_tier(step, currency) for step in plan["tiers"])
    return (say("each unit at its tier's price: {tiers}", "按阶梯逐档计价：{tiers}", tiers=tiers) if plan["kind"] == "graduated" else
            say("all units at the price that the month reaches: {tiers}", "全月按所达档位计价：{tiers}", tiers=tiers))


def _tier(step: list[Any], currency: str) -> str:
    since, to, rate = step
    money = format_price(rate, currency)
    if to is None:
        return say("beyond {since}: {money}", "超过 {since}：{money}", since=f"{since:,}", money=money)
    return say("{since} to {to}: {money}", "{since} 至 {to}：{money}", since=f"{since:,}", to=f"{to:,}", money=money)
