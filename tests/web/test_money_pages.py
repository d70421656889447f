"""The pages of the money: what they show, what is done on them, and what they refuse; hostile names stay names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new, find_customer
from mofang.trade.accounts.keys import key_new
from mofang.trade.accounts.standing import standing
from mofang.trade.billing.paid import payments
from mofang.trade.pricing.prices import price_set
from mofang.trade.shown.bills import bill_rows
from mofang.trade.shown.prices import priced_models
from mofang.web.gate import KILO, Route
from mofang.web.money import outbox
from mofang.web.pages import MONEY_MENU, ROUTES
from tests.web.consoling import Answer, Consoling, Reader, member
from tests.web.test_pages import well_formed
from tests.web.trading import HOSTILE, LONG, PLAIN, Trading, stocked

MONEY = [one for one in ROUTES if one.who == "money"]
FORMS = [one for one in MONEY if one.method == "POST"]


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Trading:
    return stocked(tmp_path_factory.mktemp("money") / "shop")


@pytest.fixture(scope="module")
def console(trading: Trading) -> Iterator[Consoling]:
    running = Consoling(trading.shop)
    yield running
    running.stop()
    assert trading.shop.journals.verify() == []


@pytest.fixture(scope="module")
def reader(console: Consoling) -> Reader:
    """Somebody who does the books, and nothing else."""
    return console.reads(console.entrance.login(member(console.shop, "林会计", "money"), "test"))


def page(console: Consoling, reader: Reader, path: str, language: str = "en") -> str:
    status, _, content = console.call("GET", path, cookie=reader.cookie, accept_language=language)
    assert status == 200, (path, content)
    return content.decode()


def numbers(trading: Trading, name: str = PLAIN) -> list[str]:
    return [one.number for one in bill_rows(trading.shop, trading.ids[name])]


def every_page(trading: Trading) -> list[str]:
    bill = numbers(trading)[0]
    who = [trading.ids[name] for name in (PLAIN, HOSTILE, LONG, "New & idle", "Tests")]
    return [*(path for path, *_ in MONEY_MENU), *(f"/customers/{one}" for one in who), f"/customers/{who[0]}/bill", f"/customers/{who[3]}/bill",
            *(f"/costs?by={by}" for by in ("customer", "month")), f"/invoices/{bill}", f"/invoices/{bill}/1", f"/invoices/{bill}/2",
            f"/invoices/{bill}/1?row=req_00000001", f"/leases/{trading.ids['lease']}", f"/customisations/{trading.ids['custom']}",
            f"/solutions/{trading.ids['solution']}", "/outbox/books"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_in_both_languages(console: Consoling, reader: Reader, trading: Trading, language: str) -> None:
    for path in every_page(trading):
        text = page(console, reader, path, language)
        well_formed(text)
        assert "<script" not in text and "\u202e" not in text and "<b>" not in text and "<i>" not in text, path
        said = re.sub(r"<[^>]+>|中文|模坊|[“”]", "", text)
        for name in (PLAIN, HOSTILE, LONG, "林会计", "林娜", "增值税", "教育"):
            said = said.replace(name, "")
        assert bool(re.search("[\u4e00-\u9fff]", said)) == (language == "zh"), (path, re.findall(".{9}[\u4e00-\u9fff]+", said))


def test_a_shop_that_has_sold_nothing_says_how_to_begin(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = Consoling(Shop.open(tmp_path_factory.mktemp("empty") / "shop"))
    try:
        owner = running.reads(running.entrance.enter(running.entrance.new_code(), "test"))
        for path, command in (("/customers", "mofang sell"), ("/invoices", "mofang invoice"), ("/prices", "mofang price set"),
                              ("/costs", "mofang rates"), ("/leases", "mofang lease new"), ("/customisations", "mofang customise new"),
                              ("/solutions", "mofang solution make"), ("/outbox", "mofang outbox add")):
            assert f"<pre>{command}" in page(running, owner, path), path
    finally:
        running.stop()


# Lists


def test_customers_are_found_sorted_and_chosen(console: Consoling, reader: Reader, trading: Trading) -> None:
    def names(query: str) -> list[str]:
        return re.findall(r'<a href="/customers/(cus_\w+)">', page(console, reader, f"/customers?{query}"))

    ids = trading.ids
    assert names("sort=-owed")[:2] == [ids[PLAIN], ids[HOSTILE]] and names("sort=balance")[0] == ids[PLAIN]
    assert set(names("show=owing")) == {ids[PLAIN], ids[HOSTILE]} and names("show=test") == [ids["Tests"]]
    assert names(urlencode({"text": "有限责任"})) == [ids[LONG]] and names(urlencode({"segment": "教育"})) == [ids[PLAIN]]
    assert names("text=nobody") == [] and "Show all" in page(console, reader, "/customers?text=nobody")
    for wrong in ("sort=password", "show=x", "page=0", "page=-1", "page=x", "page=" + "9" * 30):
        status, _, content = console.call("GET", f"/customers?{wrong}", cookie=reader.cookie)
        assert status == 400 and b"query-wrong" in content, wrong


def test_a_thousand_customers_are_shown_piece_by_piece(tmp_path_factory: pytest.TempPathFactory) -> None:
    shop = Shop.open(tmp_path_factory.mktemp("thousand") / "shop")
    shop.act(customer_new, name="first")
    body = {"currency": "CNY", "credit_micros": 0, "test": False}
    with shop.control.transaction():
        shop.journals.append("customers", [NewRow("customer", {**body, "name": f"客户 {n:04d}"}, account=f"cus_{n:026d}") for n in range(1000)])
    running = Consoling(shop)
    try:
        owner = running.reads(running.entrance.enter(running.entrance.new_code(), "test"))
        began = time.process_time()
        first = page(running, owner, "/customers")
        assert time.process_time() - began < 2.0
        assert first.count('<td class="name">') == 50 and "1 / 21" in first and 'rel="next"' in first and 'rel="prev"' not in first
        last = page(running, owner, "/customers?page=21&sort=-name")
        assert last.count('<td class="name">') == 1 and 'rel="next"' not in last and "sort=-name&amp;page=20" in last
        assert "21 / 21" in page(running, owner, "/customers?page=99")
    finally:
        running.stop()


def test_bills_say_what_is_paid_from_the_oldest_on(console: Consoling, reader: Reader, trading: Trading) -> None:
    rows = bill_rows(trading.shop, trading.ids[PLAIN])
    assert [one.state for one in rows[:3]] == ["paid", "part", "open"]
    assert sum(one.left for one in rows) == sum(one.total for one in rows) - 221_500_000
    assert {one.state for one in bill_rows(trading.shop, trading.ids[HOSTILE])} == {"open"}
    text = page(console, reader, "/invoices?show=part")
    assert re.findall(r'href="/invoices/(INV-[\d-]+)"', text) == [rows[1].number]
    assert rows[0].number in page(console, reader, f"/invoices?{urlencode({'text': PLAIN, 'period': rows[0].period})}")
    for kind, begins in (("pdf", b"%PDF"), ("json", b'{"account"'), ("csv", b"invoice,")):
        status, headers, content = console.call("GET", f"/invoices/{rows[0].number}.{kind}", cookie=reader.cookie)
        assert status == 200 and content.startswith(begins) and rows[0].number in headers["content-disposition"]


def test_prices_are_said_in_words_with_who_set_them(console: Consoling, reader: Reader, trading: Trading) -> None:
    text = page(console, reader, "/prices")
    assert "¥4.00/1,000" in text and "40,000 calls: ¥160.00" in text and "2 versions" in text
    assert "0 to 1,000: ¥0.01; beyond 1,000: ¥5.00/1,000" in text and "100 units a month are included" in text
    assert trading.shop.actor.name in text
    act = trading.shop.act
    for plan in ({"volume": "0-10:2, 10-:1"}, {"package": "1000:4.00"}, {"price": "0.02", "output": 3}):
        act(price_set, model="other", **plan)
    kinds = [row.plan for one in priced_models(trading.shop) if one.model == "other" for row in one.rows]
    assert kinds[0] == ("¥0.02 a unit", "a token that is written costs as 3 that are read")
    assert kinds[1][0] == "¥4.00 for each 1,000 units that are begun" and kinds[2][0].startswith("all units at the price")


def test_a_suggestion_is_refused_in_words(console: Consoling, reader: Reader) -> None:
    for query, status, code in (("model=reviews", 404, "name-unknown"), ("model=x&units=-1", 400, "query-wrong"),
                                ("model=x&margin=1e9", 400, "query-wrong"), ("by=colour", 400, "query-wrong")):
        got = console.call("GET", f"/costs?{query}", cookie=reader.cookie)
        assert got[0] == status and code.encode() in got[2], query


# What is done


def test_a_payment_is_booked_once_under_the_name_of_who_did(console: Consoling, reader: Reader, trading: Trading) -> None:
    who = trading.ids[LONG]
    form = {"amount": "12.50", "reference": "BANK-77 <b>", "by": "transfer", "until": ""}
    for done in ("paid", "paid-before"):
        status, headers, _ = console.submit(f"/customers/{who}/pay", form, reader)
        assert (status, headers["location"]) == (303, f"/customers/{who}?done={done}")
        assert 'role="status"' in page(console, reader, headers["location"])
    assert [one.micros for one in payments(trading.shop.control, who) if one.reference == form["reference"]] == [12_500_000]
    row = next(row for row in trading.shop.journals.rows("customers") if row.body.get("reference") == form["reference"])
    assert row.body["by"] == "林会计"
    for wrong, code, status in (({"amount": "13"}, "top-up-differs", 409), ({"amount": "-1"}, "amount-negative", 0), ({"amount": ""}, "", 0),
                                ({"by": "magic"}, "", 0), ({"reference": ""}, "", 0), ({"until": "2020-01-01", "reference": "z"}, "payment-until", 0)):
        got = console.submit(f"/customers/{who}/pay", {**form, **wrong}, reader)
        assert 400 <= got[0] < 500 and code.encode() in got[2] and b"<b>" not in got[2], wrong
        assert not status or got[0] == status
        assert b'role="alert"' in got[2] and (b"BANK-77 &lt;b&gt;" in got[2] or "reference" in wrong), "what was typed stays"
    assert len(payments(trading.shop.control, who)) == 2, "nothing else was booked"
    visits = json.dumps([row.body for row in trading.shop.journals.rows("visits")], ensure_ascii=False)
    assert "POST /customers/{id}/pay top-up-differs" in visits and "BANK-77" not in visits


def test_terms_are_agreed(console: Consoling, reader: Reader, trading: Trading) -> None:
    who = trading.ids["New & idle"]
    assert console.submit(f"/customers/{who}/agree", {"discount": "5", "segment": "零售"}, reader)[0] == 303
    assert console.submit(f"/customers/{who}/agree", {"tax": "6%", "tax_name": "增值税"}, reader)[0] == 303
    agreed = standing(trading.shop, who)["agreed"]
    assert (agreed["discount_ppm"], agreed["tax_ppm"], agreed["segment"]) == (50_000, 60_000, "零售"), "what stays empty stays as it is"
    got = console.submit(f"/customers/{who}/agree", {"discount": "101%"}, reader, accept_language="zh")
    assert got[0] == 422 or got[0] == 400 and b"percent-unreadable" in got[2]
    assert standing(trading.shop, who)["agreed"] == agreed


def test_a_part_of_a_line_is_shown_and_then_given_back_once(console: Consoling, reader: Reader, trading: Trading) -> None:
    bill = numbers(trading)[0]
    form = {"units": "1,200", "why": "wrong answers <b>"}
    status, _, content = console.submit(f"/invoices/{bill}/1", form, reader)
    well_formed(content.decode())
    asked = re.search(r"Give back (¥[\d.]+)\?", content.decode())
    assert status == 200 and asked and not standing(trading.shop, PLAIN)["credits"], "nothing is booked yet"
    for done in ("credited", "credited-before"):
        status, headers, _ = console.submit(f"/invoices/{bill}/1", {**form, "sure": "yes"}, reader)
        assert (status, headers["location"]) == (303, f"/invoices/{bill}/1?done={done}")
    (credit,) = standing(trading.shop, PLAIN)["credits"]
    assert asked[1] == f"¥{credit['micros'] / 1e6:.2f}" and asked[1] in page(console, reader, f"/invoices/{bill}")
    for wrong in ({"units": "9999999"}, {"units": "0"}, {"units": "-5"}, {"units": "x"}, {"units": "1", "why": "x"}, {"units": "", "amount": "5"}):
        got = console.submit(f"/invoices/{bill}/1", {**form, **wrong, "sure": "yes"}, reader)
        assert 400 <= got[0] < 500 and b'role="alert"' in got[2], wrong
    assert len(standing(trading.shop, PLAIN)["credits"]) == 1
    fee = console.submit(f"/invoices/{bill}/2", {"amount": "1.00", "why": "three days without"}, reader)
    assert fee[0] == 200 and b"Give back 1.00" in fee[2]


def test_a_request_is_proved_to_stand_on_its_line(console: Consoling, reader: Reader, trading: Trading) -> None:
    bill = numbers(trading)[0]
    text = page(console, reader, f"/invoices/{bill}/1?row=req_00000001")
    assert "the proof was checked" in text and "merkle_root" in text
    assert "invoice-row-unknown" in page(console, reader, f"/invoices/{bill}/1?row={quote('<script>')}")
    text = page(console, reader, f"/solutions/{trading.ids['solution']}")
    assert "CC-BY-4.0" in text and "instances" in text and "¥20,000.00" in text
    assert "¥5,000.00" in page(console, reader, f"/leases/{trading.ids['lease']}")


def test_what_waits_is_told_and_what_does_not_answer_is_said(console: Consoling, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    status, headers, _ = console.submit("/outbox/books", {}, reader)
    assert (status, headers["location"]) == (303, "/outbox/books?done=not"), "nobody listens there"
    text = page(console, reader, headers["location"])
    assert "tried again later" in text and "connection-failed" in text
    told: list[str] = []
    monkeypatch.setattr(outbox, "post", lambda _shop, _endpoint, event: told.append(event.id) or "")
    for _ in range(2):
        assert console.submit("/outbox/books", {}, reader)[1]["location"] == "/outbox/books?done=sent"
    assert len(told) == len(set(told)) >= 4, "what arrived is not told again"
    assert "tried again later" not in page(console, reader, "/outbox/books")
    assert console.submit("/outbox/nobody", {}, reader)[0] == 404


def test_the_books_are_compared_from_the_page(console: Consoling, reader: Reader) -> None:
    status, _, content = console.submit("/reconcile", {}, reader)
    well_formed(content.decode())
    assert status == 200 and b"Invoices made again" in content and b"sum differs" not in content


def test_no_page_shows_a_key(console: Consoling, reader: Reader, trading: Trading) -> None:
    issued = trading.shop.act(key_new, customer=PLAIN)
    text = page(console, reader, f"/customers/{trading.ids[PLAIN]}")
    hashed = trading.shop.control.rows("select hash from key where id=?", (issued.id,))[0][0]
    assert issued.id in text and issued.token not in text and issued.token[21:] not in text and hashed not in text


# What is refused


def filled(route: Route, trading: Trading) -> str:
    """A page that exists."""
    bill = numbers(trading)[0]
    path = route.path.replace("/customers/{id}", f"/customers/{trading.ids[PLAIN]}").replace("{line}", "1").replace("/outbox/{name}", "/outbox/books")
    return path.replace("/invoices/{name}", f"/invoices/{bill}").replace("/leases/{id}", f"/leases/{trading.ids['lease']}").replace(
        "/customisations/{id}", f"/customisations/{trading.ids['custom']}").replace("/solutions/{id}", f"/solutions/{trading.ids['solution']}")


def books(shop: Shop) -> list[tuple[str, int]]:
    """How far every journal but that of visits is."""
    return [(name, shop.journals.position(name)) for name in ("customers", "keys", "invoices", "outbox", "charges", "fapiao", "leases", "custom")]


def test_strangers_other_roles_and_other_shops_are_refused(console: Consoling, trading: Trading, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = Consoling(Shop.open(tmp_path_factory.mktemp("other") / "shop"))
    foreign = elsewhere.entrance.enter(elsewhere.entrance.new_code(), "test")
    elsewhere.stop()
    looks = {role: console.reads(console.entrance.login(member(console.shop, f"only {role}", role), "test")) for role in ("look", "label", "train", "release")}
    before = books(trading.shop)
    for route in MONEY:
        path = filled(route, trading)

        def ask(cookie: str, form: dict[str, str] | None = None, *, path: str = path, route: Route = route) -> Answer:
            if route.method == "POST":
                return console.call("POST", path, urlencode(form or {}).encode(), cookie=cookie, content_type="application/x-www-form-urlencoded")
            return console.call("GET", path, cookie=cookie)

        assert ask(foreign)[0] == ask("")[0] == (401 if route.method == "POST" else 303), path
        for role, one in looks.items():
            status, _, content = ask(one.cookie, {"form_token": one.form_token, "amount": "1", "reference": role})
            assert status == 403 and b"not-permitted" in content and PLAIN.encode() not in content, (path, role)
    assert books(trading.shop) == before


@pytest.mark.parametrize("route", FORMS, ids=lambda one: one.path)
def test_forms_without_their_token_and_huge_ones_change_nothing(console: Consoling, reader: Reader, trading: Trading, route: Route) -> None:
    path, before = filled(route, trading), books(trading.shop)
    good = {"amount": "1", "reference": "x1", "discount": "50", "units": "1", "why": "because", "sure": "yes"}
    for token in ("", "x", "\u0000"):
        got = console.submit(path, {**good, "form_token": token}, Reader(reader.cookie, "y"))
        assert got[0] == 403 and b"form-foreign" in got[2]
    assert console.submit(path, good, reader, origin="http://evil.example")[0] == 403
    assert console.submit(path, {**good, "why": "x" * (65 * KILO)}, reader)[0] == 413
    got = console.call("POST", path, json.dumps(good).encode(), cookie=reader.cookie, content_type="application/json")
    assert got[0] == 400 and b"form-unreadable" in got[2]
    assert books(trading.shop) == before


@pytest.mark.parametrize("bad", ["x", "..%2f..%2fetc%2fpasswd", "%00", "' or 1=1 --", "<script>", "x" * 3000, "客户", "-1", "0", "1e9"])
def test_bad_names_are_not_found_on_any_page(console: Consoling, reader: Reader, bad: str) -> None:
    for route in MONEY:
        if "{" in route.path:
            path = re.sub(r"\{\w+\}", quote(bad, safe="%"), route.path)
            got = console.submit(path, {"amount": "1", "reference": "r"}, reader) if route.method == "POST" else console.call(
                "GET", path, cookie=reader.cookie)
            assert got[0] in (400, 404, 422) and b"<script" not in got[2], (path, got[0])
    assert find_customer(console.shop.control, PLAIN).name == PLAIN
