"""Prices: versions that never change, begin in order, and are shown in examples when they are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.money import charge
from mofang.core.shop import Shop
from mofang.trade.pricing.prices import exact_decimal, price_at, price_set, prices

HOUR_US = 3_600_000_000


def test_setting_a_price_shows_what_calls_cost(any_shop: Shop) -> None:
    first = any_shop.act(price_set, model="reviews@1", price="5.00/1000")
    assert (first.model, first.version) == ("reviews", 1)
    assert first.examples() == [(1, "¥0.005"), (40_000, "¥200.00")]
    assert first.exact(1) == "0.005" and first.exact(40_000) == "200"
    second = any_shop.act(price_set, model="reviews", price="6/1000")
    assert prices(any_shop.control) == [first, second] and second.version == 2
    assert any_shop.journals.verify() == []


def test_a_price_for_later_waits_and_history_stays(shop: Shop) -> None:
    now = shop.act(price_set, model="reviews", price="5/1000")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    later = shop.act(price_set, model="reviews", price="9/1000", starts=tomorrow)
    versions = prices(shop.control, "reviews")
    assert price_at(versions, now_us()) == now and price_at(versions, later.from_us) == later
    assert price_at(versions, now.from_us - 1) is None


def test_refusals(shop: Shop) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    shop.act(price_set, model="reviews", price="5/1000", starts=tomorrow)
    for settings, code in (({"price": "1", "starts": "2020-01-01"}, "price-in-the-past"),
                           ({"price": "1", "starts": "tomorrow"}, "moment-unreadable"),
                           ({"price": "1"}, "price-out-of-order"),
                           ({"price": "-1"}, "amount-negative"),
                           ({"price": "1/3"}, "price-inexact"),
                           ({"price": "1", "currency": "USD", "starts": "2099-01-01"}, "price-currency"),
                           ({"price": "$1"}, "currency-other")):
        with pytest.raises(MofangError) as caught:
            shop.act(price_set, model="reviews", **settings)
        assert caught.value.code == code
    assert len(prices(shop.control)) == 1


@given(st.integers(0, 10**6), st.integers(0, 10**13))
def test_the_exact_price_is_the_charge_before_rounding(units: int, rate: int) -> None:
    whole, _, part = exact_decimal(units * rate).partition(".")
    assert int(whole) * 10**12 + int(part.ljust(12, "0")) == units * rate
    assert charge(units, rate)[0] == units * rate // 10**6
