"""docs/prices.md and docs/invoices.md are typed; a complaint is checked, credited, and stands on the next bill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mofang.core.shop import Shop
from tests.many import make_many
from tests.new.test_pages import walk
from tests.stories.terminal import Inside


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.cluster)])
def database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Addresses of empty databases, of each kind that Mofang promises."""
    if request.param == "sqlite":
        return lambda: ""
    server = request.getfixturevalue("postgres_server")

    def made() -> str:
        import psycopg

        name = f"books_{os.urandom(6).hex()}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        found: str = server.get_uri(name)
        return found

    return made


@pytest.fixture(scope="module")
def sold(database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A shop that has sold for months: three customers, five models, 600 answered requests."""
    place = tmp_path_factory.mktemp("books")
    make_many(place / "shop", usage=600, runs=60, invoices=False, database=database())
    return Inside(place)


def test_prices_and_bills_as_the_pages_say(sold: Inside) -> None:
    walk("invoices.md", sold, {})
    walk("prices.md", sold, {})
    assert sold.type("verify", "--json").status == 0


def test_complaint_check_credit_next_bill(sold: Inside, tmp_path: Path) -> None:
    for name in ("甲公司",):
        bill = json.loads(sold.type("invoice", name, "--early", "--clock-checked", "--json").out)
        line = next(one for one in bill["lines"] if one["units"] >= 2)
        at = str(line["line"])
        complained = sold.type("trace", bill["number"], at).out
        assert "request" in complained
        assert sold.type("credit", bill["number"], at, "--units", str(line["units"] + 1), "--why", "cut", "--yes", status=1).code == (
            "credit-beyond-line")
        asked = ("credit", bill["number"], at, "--units", str(line["units"]), "--why", "回答不完整", "--yes")
        assert "given back" in sold.type(*asked).out and "already booked" in sold.type(*asked).out
        assert sold.type("credit", bill["number"], at, "--units", "1", "--why", "more", "--yes", status=1).code == "credit-beyond-line"
        shop = Shop.open(sold.shop, make=False)
        from mofang.core.action import Act
        from mofang.trade.billing.oneoff import charge

        charge(Act(shop, shop.actor), name, "solution", "bundle", 900_000_000, "CNY", "run_x")
        month = json.loads(sold.type("invoice", name, "--preview", "--json").out)["period"]["name"]
        year, number = int(month[:4]), int(month[5:])
        later = f"{year + number // 12}-{number % 12 + 1:02d}"
        following = json.loads(sold.type("invoice", name, "--period", later, "--early", "--clock-checked", "--json").out)
        assert [one["reason"] for one in following["credits"]] == [f"{bill['number']} / {at}: 回答不完整"]
        assert following["credits"][0]["amount_micros"] == -line["amount_micros"]
        again = json.loads(sold.type("invoice", name, "--period", month, "--json").out)
        assert again == bill, "an issued bill is never changed"


def test_the_customer_downloads_the_file_that_the_seller_prints(database: Callable[[], str], tmp_path: Path) -> None:
    from bench._noop_server import stock

    from tests.web.serving import Fixed, Serving

    Shop.open(tmp_path / "shop", database=database())
    shop = stock(tmp_path / "shop", "5.00/1000")
    key = (tmp_path / "shop" / "live").read_text()
    serving = Serving(shop, {"noop@1": Fixed(lambda records: [{"label": "x"} for _ in records])})
    try:
        assert [serving.predict(key, {"text": text}).status for text in "abb"] == [200] * 3
        sent = serving.call("GET", "/v1/usage.csv", key=key)
        refused = serving.call("GET", "/v1/usage.csv?month=2026-13", key=key)
    finally:
        serving.stop()
    printed = Inside(tmp_path).type("usage", "tester", "--csv")
    assert sent.body.decode() == printed.out and printed.out.count("\n") == 2 and ",3,3,0,0,0.015,CNY" in printed.out
    assert (refused.status, refused.code) == (400, "query-wrong")
