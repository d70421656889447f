"""What each way of selling earned is the same before and after it is billed, to the last micro; the money files of an export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.action import Act
from mofang.core.clock import day_of
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.takeout import take_out
from mofang.trade.billing.claims import invoices_of
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.oneoff import charge
from mofang.trade.pricing.costs import by_model
from mofang.trade.pricing.suggest import suggest
from mofang.trade.pricing.ways import Way, by_way, totals
from tests.many import make_many
from tests.stories.terminal import Inside
from tests.web.consoling import Consoling, member
from tests.web.test_pages import well_formed

BUYER, MODELS = "Book Shop", ("cancer", "digits", "reviews")


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """75 days of use; discount, tax, a subscription, a lease's fee, and a solution of three models over an odd price."""
    place = tmp_path_factory.mktemp("ways")
    make_many(place / "shop", usage=300, runs=60, invoices=False)
    terminal = Inside(place)
    terminal.type("customer", "agree", BUYER, "--discount", "7.77%", "--tax", "6%")
    terminal.type("customer", "subscribe", BUYER, "digits", "--monthly", "31.01", "--included", "30")
    terminal.type("price", "set", "reviews", "--tiers", "0-5:0.010, 5-:0.005")
    shop = Shop.open(terminal.shop, make=False)
    named = {name: shop.named(name, "package") for name in MODELS}
    body = {"decision": "solution", "inputs": [shop.artifact(shop.ledger.get(one.entry)).reference() for one in named.values()]}
    solution = shop.ledger.append("decision", "solution:test", shop.actor, body).id
    lease = shop.ledger.append("decision", "lease:test", shop.actor, {"decision": "lease", "inputs": body["inputs"][:1]}).id
    renewal = {"decision": "renew", "inputs": [{"entry": lease, "digest": "", "within": "", "kind": "lease"}]}
    renewed = shop.ledger.append("decision", "lease:again", shop.actor, renewal).id
    for kind, micros, entry in (("solution", 1_000_010_000, solution), ("lease", 55_550_000, lease), ("lease", 10_000, renewed),
                                ("other", 70_000, "run_of_nobody")):
        charge(Act(shop, shop.actor), BUYER, kind, f"a {kind}", micros, "CNY", entry)  # type: ignore[arg-type]
    return terminal


def shop_of(terminal: Inside) -> Shop:
    return Shop.open(terminal.shop, make=False)


def net(document: dict[str, Any]) -> int:
    return sum(line["amount_micros"] for line in document["lines"] if line["kind"] != "tax")


def months(terminal: Inside) -> Iterator[str]:
    rows = shop_of(terminal).control.rows("select distinct substr(day, 1, 7) from usage_day order by 1")
    return (row[0] for row in rows)


def told(ways: list[Way]) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(one.way, one.customer, one.model): (one.units, one.earned) for one in ways}


def test_billing_changes_nothing_of_what_was_earned(sold: Inside) -> None:
    """Whether it stands on no bill, on some, or on all: every line is counted once, and all of them are the bills' lines."""
    shop = shop_of(sold)
    before = told(by_way(shop))
    assert not invoices_of(shop.control)
    assert {key[0] for key in before} == {"metered", "subscription", "lease", "solution", "other"}
    for month in months(sold):
        sold.type("invoice", BUYER, "--period", month, "--early", "--clock-checked")
        assert told(by_way(shop)) == before, month
    billed = [invoice_document(shop, one.number) for one in invoices_of(shop.control)]
    assert sum(map(net, billed)) == sum(earned for (_, who, _), (_, earned) in before.items() if who == BUYER)
    parts = [before["solution", BUYER, name][1] for name in MODELS]
    assert sum(parts) == 1_000_010_000 and max(parts) - min(parts) <= 1, "equal parts of an odd price"
    assert before["lease", BUYER, MODELS[0]] == (0, 55_560_000), "a renewal leads through its lease to the model"
    assert before["other", BUYER, ""] == (0, 70_000), "a source that is in no ledger leads to no model"


def test_what_comes_after_an_early_bill_counts_once(sold: Inside) -> None:
    """The month's fee stood on its bill already."""
    shop = shop_of(sold)
    sold.type("invoice", BUYER, "--early", "--clock-checked")
    before = told(by_way(shop))
    charge(Act(shop, shop.actor), BUYER, "other", "late", 10_000, "CNY", "run_late")
    after = told(by_way(shop))
    assert after == {**before, ("other", BUYER, ""): (0, before["other", BUYER, ""][1] + 10_000)}


def test_credits_belong_to_the_way_of_their_line(sold: Inside) -> None:
    shop = shop_of(sold)
    bill = invoice_document(shop, invoices_of(shop.control)[-1].number)
    assert any(one["kind"] == "tax" for one in bill["lines"])
    line = next(one for one in bill["lines"] if one["kind"] == "usage" and one["units"] > 9)
    sold.type("credit", bill["number"], str(line["line"]), "--units", "8", "--why", "cut short", "--yes")
    sold.type("customer", "credit-note", BUYER, "0.05", "--reason", "a gift", "--yes")
    ways = by_way(shop)
    given = {(one.way, one.model): one.given_back for one in ways if one.given_back}
    note = shop.control.rows("select micros from line_credit")[0][0]
    model = line["model"].partition("@")[0]
    assert set(given) == {("metered", model), ("other", "")} and given["other", ""] == 50_000
    assert given["metered", model] == note * 10**6 // 1_060_000, "without the tax, which was never earned"


def test_costs_are_shared_whole(sold: Inside) -> None:
    shop = shop_of(sold)
    assert all(one.margin is None for one in by_way(shop) if one.model), "no rate is set: nothing is made up"
    assert "not known" in sold.type("costs", "--by", "way").out
    with pytest.raises(MofangError) as refusal:
        suggest(shop, "reviews")
    assert refusal.value.code == "suggest-no-rate"
    sold.type("rates", "--machine-hour", "¥3.33", "--kwh", "0.77")
    shop = shop_of(sold)
    ways, lines = by_way(shop), {one.name: one for one in by_model(shop)}
    for model in MODELS:
        own = [one for one in ways if one.model == model]
        assert sum(one.making or 0 for one in own) == lines[model].making
        assert by_way(shop, model) == own
        for one in own:
            assert one.margin == one.earned - one.given_back - (one.serving or 0) - (one.making or 0)
            assert (one.serving == 0) == (one.units == 0), "2,000 units a second cost something"
    whole = totals(ways)
    assert [one.way for one in whole] == ["metered", "subscription", "lease", "solution", "other"]
    assert sum(one.earned for one in whole) == sum(one.earned for one in ways)


def test_a_suggestion_without_guesses(sold: Inside) -> None:
    shop = shop_of(sold)
    found = suggest(shop, "reviews", 1_000_000, 60)
    seconds = 1000 / 2000
    assert found.serving_per_1000 == round(seconds * 3_330_000 / 3600 + seconds * 10 / 3600 / 1000 * 770_000), "time and energy"
    assert (found.price_per_1000 - found.cost_per_1000) / found.price_per_1000 >= 0.6
    assert suggest(shop, "reviews").expected_units == next(one for one in by_model(shop) if one.name == "reviews").units
    assert (found.cpu_s, round(found.energy_wh, 4)) == (20.25 * 12, round(0.0563 * 12, 4)), "as the runs measured it"
    for model, volume, margin, code in (("titles", 0, 50, "suggest-volume"), ("titles", -1, 50, "suggest-margin"),
                                        ("titles", 1, 96, "suggest-margin"), ("nobody", 1, 50, "name-unknown")):
        with pytest.raises(MofangError) as refusal:
            suggest(shop, model, volume, margin)
        assert refusal.value.code == code
    assert sold.type("price", "--suggest", "reviews").out == sold.type("price", "suggest", "reviews").out
    assert "nobody bought" in sold.type("price", "suggest", "titles", "--volume", "1000").out


def test_the_page_of_costs_says_the_same(sold: Inside) -> None:
    """The console's page, in both languages: every way by customer, and under a suggestion those of its model."""
    shop = shop_of(sold)
    console = Consoling(shop)
    try:
        reader = console.reads(console.entrance.login(member(shop, "林会计", "money"), "test"))
        for language, words in (("en", ("metered", "subscription", "lease", "solution")), ("zh", ("按量", "订阅", "租约", "解决方案"))):
            for query in ("by=way", "model=reviews&units=1000000", "model=titles"):
                status, _, content = console.call("GET", f"/costs?{query}", cookie=reader.cookie, accept_language=language)
                text = content.decode()
                assert status == (409 if query == "model=titles" else 200), (query, text)  # nothing was sold to spread making over
                well_formed(text)
                shown = [word for word in words if f">{word}</td>" in text]
                wanted = {"by=way": words, "model=titles": ()}.get(query, (words[0], words[3]))
                assert tuple(shown) == wanted, (query, shown)
    finally:
        console.stop()


def test_the_money_files_of_an_export(sold: Inside, tmp_path: Path) -> None:
    sold.type("pay", BUYER, "12.34", "--reference", "bank 1", "--by", "wechat")
    place = take_out(shop_of(sold), tmp_path / "out").place

    def table(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((place / name).read_text(encoding="utf-8-sig"))))

    assert json.loads((place / "about.json").read_bytes())["format"] == 2
    prices = {(one["model"], one["version"]): one for one in table("prices.csv")}
    assert prices["reviews", "2"]["kind"] == "graduated"
    assert json.loads(prices["reviews", "2"]["plan"])["tiers"][0] == [0, 5, 10**10]
    lines = table("invoice-lines.csv")
    assert {one["kind"] for one in lines} >= {"usage", "discount", "tax", "lease", "solution", "other", "subscription"}
    assert [one["source_entry"] != "" for one in lines] == [one["kind"] in ("lease", "solution", "other") for one in lines]
    charges = [(one["kind"], one["micros"]) for one in table("charges.csv")]
    assert charges[:2] == [("solution", "1000010000"), ("lease", "55550000")]
    assert [(one["customer"], one["micros"], one["by"]) for one in table("payments.csv")] == [(BUYER, "12340000", "wechat")]
    assert [one["reason"] for one in table("credits.csv")][-1] == "a gift"
    assert [(one["model"], one["included"], one["first"]) for one in table("subscriptions.csv")] == [
        ("digits", "30", day_of(now_us()))]
    about = json.loads((place / "about.json").read_bytes())
    (place / "about.json").write_text(json.dumps({**about, "format": 1}))
    assert take_out(shop_of(sold), place).place == place, "over an export of the form before"
