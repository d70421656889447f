"""What was answered, charged once and earned; for the screen that a person sees every morning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mofang.core import lock
from mofang.core.clock import day_of, shift
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import shop_offset


@dataclass(frozen=True)
class Earned:
    """Requests and units of live keys over a stretch of time, and what they and charges made once came to; test keys apart."""

    requests: int
    units: int
    micros: int
    test_requests: int


def earned_today(shop: Shop) -> Earned:
    """Since midnight on the shop's clock."""
    return earned_since(shop, day_of(now_us(), shop_offset(shop)))


def earned_since(shop: Shop, day: str) -> Earned:
    """From a day (``2026-11-22``) on."""
    sql = """select coalesce(sum(case when test=0 then requests else 0 end), 0),
        coalesce(sum(case when test=0 then units else 0 end), 0), coalesce(sum(micros), 0),
        coalesce(sum(case when test=1 then requests else 0 end), 0) from usage_day where day>=?"""
    lock.import_fold("charges")
    shop.journals.make_tables()
    requests, units, micros, tests = shop.control.rows(sql, (day,))[0]
    begins_us = int((datetime.fromisoformat(f"{day}T00:00:00+00:00") - shift(shop_offset(shop))).timestamp()) * 1_000_000
    charged = shop.control.rows("select coalesce(sum(micros), 0) from oneoff where at_us>=?", (begins_us,))[0][0]
    return Earned(int(requests), int(units), int(micros) + int(charged), int(tests))
