"""What a result cost with everything behind it, in this shop and in others, each run counted once."""

from __future__ import annotations

from typing import Any

from mofang.core.foreign import foreign_entry, foreign_shop
from mofang.core.language import say
from mofang.core.ledger import Ledger
from mofang.core.money import format_micros


def lineage_cost(ledger: Ledger, *entries: str) -> dict[str, Any]:
    """What it took to make these entries with everything behind them: each run's own cost, counted once.

    Nested runs and the originals of reused results count, and what other shops ran for an imported package.
    ``micros`` is this shop's own money, None as long as one of its runs had no rate; ``elsewhere`` is the other shops'
    money, each in its own currency, None where one of their runs had no rate. Nothing is converted.
    """
    total: dict[str, Any] = {
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "gpu_s": 0.0,
        "energy_wh": 0.0,
        "micros": 0,
        "runs": 0,
        "elsewhere": [],
    }
    waiting, seen = [("", id) for id in entries], set()
    elsewhere: dict[str, dict[str, Any]] = {}
    while waiting:
        shop, id = waiting.pop()
        if (shop, id) in seen:
            continue
        seen.add((shop, id))
        abroad = foreign_entry(ledger.db, shop, id) if shop else None
        body = abroad.view if abroad else ledger.get(id).body
        if abroad is None and shop:  # it went out from this shop and came back
            waiting.append(("", id))
            continue
        named = [given["entry"] for given in [*body.get("inputs", []), *body.get("nested", [])]]
        waiting += [(shop, one) for one in [*named, *(body[name] for name in ("returned", "of") if body.get(name))]]
        brought = body.get("foreign")
        if brought and not brought.get("room"):  # what a customer's room took is this shop's own cost already
            waiting.append((brought["shop"], brought["entry"]))
        own = body.get("cost", {}).get("own")
        if own is None or body.get(
            "of"
        ):  # seals and decisions cost nothing; a reuse cost what its original did
            continue
        total["runs"] += 1
        for name in ("wall_s", "cpu_s", "gpu_s", "energy_wh"):
            total[name] = round(total[name] + own[name], 4)
        purse = _purse(ledger, shop, elsewhere) if shop else total
        purse["micros"] = (
            None if None in (purse["micros"], own["micros"]) else purse["micros"] + own["micros"]
        )
    total["elsewhere"] = [elsewhere[shop] for shop in sorted(elsewhere)]
    return total


def _purse(ledger: Ledger, shop: str, elsewhere: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Where another shop's money is added up, in its own currency."""
    if shop not in elsewhere:
        known = foreign_shop(ledger.db, shop)
        assert known is not None, "a foreign entry comes with its shop"
        elsewhere[shop] = {"shop": known.label, "currency": known.currency, "micros": 0}
    return elsewhere[shop]


def elsewhere_line(cost: dict[str, Any]) -> str:
    """Other shops' money behind something: ``¥1.20 (书店), $3.00 (shop_01…)``; empty if no other shop took part."""
    return ", ".join(
        f"{_money(one['micros'], one['currency'])} ({one['shop']})" for one in cost["elsewhere"]
    )


def _money(micros: int | None, currency: str) -> str:
    return say("rate not set", "未设费率") if micros is None else format_micros(micros, currency)
