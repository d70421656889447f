"""Selling a model in one step: the customer, the price and the live key, all of them or none.

What a slip of the finger would cost is looked for first: a price for each call that was meant for a thousand, ten times
the last price, a customer whose name is nearly that of another. ``doubts`` are what a person is asked about; whoever
calls the action has been asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

from mofang.core.action import Act, action
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import say
from mofang.core.money import MICROS, PER_UNITS, format_micros, format_price, known, parse_amount, parse_price
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import DEFAULT_CREDIT, Customer, Name, customer_limit, customer_new, customers
from mofang.trade.accounts.keys import IssuedKey, Key, Label, key_new, keys
from mofang.trade.elsewhere.remotes import sold_name, sold_release
from mofang.trade.pricing.prices import Price, price_at, price_set, prices

PER_CALL_MOST = MICROS // 2 * PER_UNITS  # ¥0.50 a call: more is doubted where no number of calls was given
TIMES = 10
ALIKE = 0.8


@dataclass(frozen=True)
class Plan:
    """What selling would change. ``customer``, ``price`` and ``key`` are what is there already; ``rate`` None: no change."""

    model: str
    name: str
    customer: Customer | None
    price: Price | None
    rate: int | None
    credit: int | None
    key: Key | None
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Sold:
    """What was done: who, at which price, and the new key with its token (None where there was one already)."""

    model: str
    customer: Customer
    new_customer: bool
    price: Price
    new_price: bool
    key: Key | None
    issued: IssuedKey | None


def price_doubts(shop: Shop, model: str, text: str) -> tuple[int, Price | None, tuple[str, ...]]:
    """The rate that a price comes to, the price that holds now, and what a person should be asked before it changes."""
    shop.journals.make_tables()
    rate = parse_price(text, known(shop.currency))
    before = price_at(prices(shop.control, model), now_us())
    if before is not None and before.rate == rate and not before.postpaid:
        return rate, before, ()
    new = Price(model, 0, rate, shop.currency, 0)
    costs = say("40,000 calls would cost {cost}", "40,000 次调用将收费 {cost}", cost=new.cost(40_000))
    found = []
    if before is not None:
        found.append(say("The price of {model} changes from {old} to {new}; {costs} instead of {was}.",
                         "{model} 的价格将从 {old} 改为 {new}；{costs}，原为 {was}。", model=model, costs=costs,
                         old=format_price(before.rate, before.currency), new=format_price(rate, shop.currency),
                         was=before.cost(40_000)))
        if before.rate and (rate >= TIMES * before.rate or rate * TIMES <= before.rate):
            many = f"{rate / before.rate:,.0f}" if rate >= before.rate else f"1/{before.rate / rate:,.0f}" if rate else "0"
            found.append(say("That is {many} times the last price.", "这是上一版价格的 {many} 倍。", many=many))
    if rate == 0:
        found.append(say("Live calls of {model} would cost nothing.", "{model} 的正式调用将不收费。", model=model))
    if "/" not in text.replace("／", "/") and rate >= PER_CALL_MOST:
        found.append(say("{text} is for each single call; {costs}. For a thousand calls write {text}/1000.",
                         "{text} 是每一次调用的价格；{costs}。若指每千次，请写成 {text}/1000。", text=text.strip(), costs=costs))
    return rate, before, tuple(found)


def plan_sale(shop: Shop, model: str, to: str, price: str = "", credit: str = "") -> Plan:
    """What ``sell`` would do, and what should be asked first. Nothing is changed.

    Raises ``name-unknown`` for a model that is not there, ``sale-price-needed`` where none was ever set,
    ``price-currency``, ``price-needs-postpaid``, ``key-live-refused`` for a test customer, and the codes of ``parse_price``.
    """
    base = sold_name(shop, model)
    everybody = customers(shop.control)
    who = next((one for one in everybody if to in (one.name, one.id)), None)
    if who is not None and who.test:
        raise MofangError("key-live-refused", customer=who.name)
    rate: int | None = None
    doubts: list[str] = []
    before = price_at(prices(shop.control, base), now_us())
    if price:
        wanted, before, found = price_doubts(shop, base, price)
        rate = None if before is not None and before.rate == wanted and not before.postpaid else wanted
        doubts += found
    elif before is None:
        raise MofangError("sale-price-needed", model=base, customer=to)
    micros = parse_amount(credit, shop.currency) if credit else None
    if who is None:
        doubts += _like_another(to, everybody)
    elif micros is not None and micros != who.credit_micros:
        doubts.append(say("The credit of {name} changes from {old} to {new} a month.", "{name} 的每月额度将从 {old} 改为 {new}。",
                          name=who.name, old=format_micros(who.credit_micros, who.currency),
                          new=format_micros(micros, who.currency)))
    prepaid = not who.credit_micros if micros is None and who else micros == 0
    if rate is None and before is not None and before.postpaid and prepaid:
        raise MofangError("price-needs-postpaid", model=base, customer=to)
    key = good_key(keys(shop.control, who.id), base, now_us()) if who else None
    return Plan(base, to, who, before, rate, micros, key, tuple(doubts))


def good_key(of_customer: list[Key], model: str, at_us: int) -> Key | None:
    """The newest live key that may ask this model now."""
    good = [key for key in of_customer if not key.test and not key.revoked_us
            and (not key.expires_us or key.expires_us > at_us)
            and (not key.models or any(one.partition("@")[0] == model for one in key.models))]
    return good[-1] if good else None


def _like_another(name: str, everybody: list[Customer]) -> list[str]:
    """Slips of the finger; names that differ in their numbers (branch 1, branch 2) are meant so."""
    close = [one.name for one in everybody if SequenceMatcher(None, name.lower(), one.name.lower()).ratio() >= ALIKE
             and _digits(one.name) == _digits(name)]
    return [say("{name!r} would be a new customer; there is {close!r} already.", "“{name}”将成为新客户；已有客户“{close}”。",
                name=name, close=close[0])] if close else []


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdecimal())


@action(may="money")
def sell(act: Act, *, model: str, to: Name, price: str = "", credit: str = "", label: Label = "", output: int = 0) -> Sold:
    """Sell a model, or an engine elsewhere, to a customer: make the customer if there is none, set the price, give a live key.

    ``output`` says how many read tokens a written one costs as, of a model that writes (0: as before). Done again it makes no
    second customer and no second key. All of it is one transaction.
    """
    shop = act.shop
    with act.transaction():
        for journal in ("customers", "keys", "prices"):
            act.record(journal)  # its turn, and its tables
        plan = plan_sale(shop, model, to, price, credit)
        who = plan.customer
        if who is None:
            who = customer_new(act, name=to, currency=shop.currency, credit=credit or DEFAULT_CREDIT)
        elif plan.credit is not None and plan.credit != who.credit_micros:
            who = customer_limit(act, customer=who.id, credit=credit)
        holds = plan.price
        if plan.rate is not None or (output and price and (holds is None or output != holds.output)):
            holds = price_set(act, model=plan.model, price=price, currency=shop.currency, output=output)
        issued = None if plan.key else key_new(act, customer=who.id, label=label)
    assert holds is not None
    return Sold(sold_release(shop, model), who, plan.customer is None, holds, holds is not plan.price, plan.key, issued)
