"""What a slip would cost is seen; what was sold is all there or not at all; costs say what they know."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.language import set_language
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customers
from mofang.trade.accounts.keys import key_new, key_revoke, keys
from mofang.trade.pricing.costs import by_customer, by_model, by_month, money_of
from mofang.trade.pricing.prices import Price, prices
from mofang.trade.sale import plan_sale, price_doubts, sell
from mofang.trade.settings import rates_set, settings_of, settings_set
from mofang.trade.today import today_of
from tests.many import make_many


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated shop, for questions that change nothing."""
    place = tmp_path_factory.mktemp("many") / "shop"
    make_many(place, usage=600, runs=60, invoices=False)
    return place


@pytest.fixture
def many(stocked: Path) -> Shop:
    return Shop.open(stocked, make=False)


@pytest.mark.parametrize(("text", "doubts"), [
    ("5.00/1000", 0), ("5/1k", 0), ("5.5/1000", 1), ("4/1000", 1), ("50/1000", 2), ("0.5/1000", 2), ("5", 3), ("0.4", 2),
    ("0", 3), ("0/1000", 3), ("5/次", 2), ("５／１０００", 0),
])
def test_prices_that_look_like_a_slip(many: Shop, text: str, doubts: int) -> None:
    """5.00/1000 holds: a change is one question, ten times is another, a price for each call a third."""
    for language in ("en", "zh"):
        set_language(language)  # type: ignore[arg-type]
        found = price_doubts(many, "reviews", text)[2]
        assert len(found) == doubts, found


@pytest.mark.parametrize(("text", "doubts"), [("5/1000", 0), ("0.49", 0), ("0.5", 1), ("5", 1), ("5/1", 0), ("0/1", 1)])
def test_a_first_price_is_asked_about_only_where_it_is_odd(many: Shop, text: str, doubts: int) -> None:
    assert len(price_doubts(many, "new", text)[2]) == doubts


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_ten_times_is_ten_times_in_both_directions(stocked: Path, before: int, after: int) -> None:
    shop = Shop.open(stocked, make=False)
    price = Price("x", 1, before, "CNY", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mofang.trade.sale.prices", lambda *_: [price])
        patch.setattr("mofang.trade.sale.parse_price", lambda *_: after)
        found = price_doubts(shop, "x", "1/1000")[2]
    far = after >= 10 * before or after * 10 <= before
    assert len(found) == (0 if after == before else 1 + far)


@pytest.mark.parametrize(("name", "doubted"), [("Book Shp", True), ("book shop", True), ("Book Shop 2", False), ("Bakery", False),
                                               ("甲公司", False), ("甲公词", False)])
def test_names_that_are_nearly_anothers(many: Shop, name: str, doubted: bool) -> None:
    assert bool(plan_sale(many, "reviews", name).doubts) == doubted


def test_a_sale_is_one_transaction(many: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = many.journals.position("customers"), many.journals.position("prices"), len(keys(many.control))

    def power_cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mofang.trade.sale.key_new", power_cut)
    with pytest.raises(KeyboardInterrupt):
        many.act(sell, model="reviews", to="Half Sold", price="6/1000")
    assert (many.journals.position("customers"), many.journals.position("prices"), len(keys(many.control))) == before
    assert "Half Sold" not in [one.name for one in customers(many.control)]


def test_which_key_is_good_enough(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    make_many(tmp_path / "shop", usage=0, runs=12)
    first = shop.act(sell, model="reviews", to="Ming")
    assert first.issued and shop.act(sell, model="reviews", to="Ming").issued is None
    assert shop.act(sell, model="digits", to="Ming").key.id == first.issued.id, "a key for all models is one for each"
    shop.act(key_revoke, key=first.issued.id)
    shop.act(key_new, customer="Ming", models=("digits",))
    shop.act(key_new, customer="Ming", test=True)
    second = shop.act(sell, model="reviews", to="Ming")
    assert second.issued and not second.new_customer and not second.new_price
    assert len(prices(shop.control, "reviews")) == 1 and shop.verify() == []


def test_costs_add_up(many: Shop) -> None:
    for lines in (by_model(many), by_customer(many), by_month(many)):
        assert sum(line.requests + line.test_requests for line in lines) == 600
        assert sum(line.earned for line in lines) == sum(line.earned for line in by_month(many)) > 0
    model = next(line for line in by_model(many) if line.name == "reviews")
    assert model.making is None and model.margin is None and model.making_s and model.serving is None and model.serving_s
    many.settings["rates"] = {"machine_hour_micros": 3_600_000_000, "kwh_micros": 1_000_000}
    model = next(line for line in by_model(many) if line.name == "reviews")
    assert model.estimated and model.making == money_of(many, model.making_s, model.making_s / 12.5 * 0.0563)
    assert model.margin == model.earned - model.making - model.serving
    assert sum(line.making or 0 for line in by_month(many)) == pytest.approx(60 * 12.5 * 1e6, rel=0.2)


def test_the_day_is_facts(many: Shop) -> None:
    told = today_of(many).to_dict()
    assert told["requests_month"] + told["test_requests_today"] >= told["requests_today"] >= 0 and len(told["next"]) <= 3
    if (time.gmtime().tm_hour + 8) % 24 >= 2:  # the shop's day is old enough to have seen some
        assert told["requests_today"] > 0
    assert told["owed_micros"] >= told["unbilled_micros"] > 0 and told["spent_month_micros"] is None, told
    assert {"month-not-billed", "backup-never", "verify-old"} - {one["code"] for one in told["alerts"]} <= {"verify-old"}


REFUSED: list[tuple[Callable[..., object], dict[str, str], str]] = [
    (settings_set, {"name": "seler", "value": "x"}, "setting-not-known"),
    (settings_set, {"name": "address", "value": "x" * 301}, "setting-too-long"),
    (settings_set, {"name": "utc-offset", "value": "Mars"}, "offset-unreadable"),
    (settings_set, {"name": "invoice-language", "value": "fr"}, "language-unknown"),
    (rates_set, {}, "rates-none-given"), (rates_set, {"kwh": "-1"}, "amount-negative"),
    (rates_set, {"machine_hour": "$3"}, "currency-other"),
]


@pytest.mark.parametrize(("action", "given", "code"), REFUSED, ids=[row[2] for row in REFUSED])
def test_settings_that_are_refused_change_nothing(shop: Shop, action: Callable[..., object], given: dict[str, str], code: str) -> None:
    before = (shop.path / "mofang.json").read_bytes()
    with pytest.raises(MofangError) as caught:
        shop.act(action, **given)
    assert caught.value.code == code and all(caught.value.worded("zh"))
    assert (shop.path / "mofang.json").read_bytes() == before and shop.journals.rows("settings") == []


def test_two_hands_on_the_settings_lose_nothing(shop: Shop) -> None:
    other = shop.again()
    shop.act(settings_set, name="seller", value="甲")
    other.act(rates_set, machine_hour="3")
    other.act(settings_set, name="tax-id", value="9")
    assert {one.name: one.value for one in settings_of(shop.again())}["seller"] == "甲"
    assert shop.again().rates == {"machine_hour_micros": 3_000_000} and shop.again().settings["seller_tax_id"] == "9"
    assert settings_of(shop.again())[0].at_us <= now_us()
