"""What a key is good for, whose it is, and what a customer reads of its own papers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import Noop, stock

from mofang.client import Client, NotAllowed, Refused
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import find_key, key_new, key_rotate, keys
from mofang.trade.accounts.members import member_add, member_remove, members
from mofang.trade.billing.issuing import invoice_issue
from mofang.trade.billing.papers import Papers
from tests.new.test_pages import walk
from tests.stories.terminal import Inside, eventually
from tests.web.serving import Serving


def code_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except MofangError as error:
        return error.code
    return "ok"


def test_a_members_keys_go_by_the_role_and_end_with_the_member(shop: Shop) -> None:
    shop.act(customer_new, name="书店")
    assert code_of(lambda: shop.act(key_new, customer="书店", member="李")) == "member-unknown"
    shop.act(member_add, customer="书店", name="李")
    key = shop.act(key_new, customer="书店", member="李")
    assert find_key(shop.control, key.id).scopes == ("predict", "usage")
    assert code_of(lambda: shop.act(key_new, customer="书店", member="李", scopes=("invoices",))) == "scope-role"
    assert code_of(lambda: shop.act(key_new, customer="书店", scopes=("everything",))) == "scope-unknown"
    shop.act(member_add, customer="书店", name="李", role="accounts")
    narrow = shop.act(key_new, customer="书店", member="李", scopes=("invoices",))
    rotated = find_key(shop.control, shop.act(key_rotate, key=narrow.id).id)
    assert (rotated.scopes, rotated.member) == (("invoices",), "李")
    shop.act(customer_new, name="other")
    assert code_of(lambda: shop.act(member_remove, customer="other", name="李")) == "member-unknown"
    free = shop.act(key_new, customer="书店")
    gone = shop.act(member_remove, customer="书店", name="李")
    assert set(gone.keys) == {key.id, narrow.id, rotated.id} and members(shop.control) == []
    assert {one.id for one in keys(shop.control) if not one.revoked_us} == {free.id}
    assert shop.journals.verify() == []


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Shop]]:
    shop = stock(tmp_path_factory.mktemp("papers") / "shop", price="0.01")
    serving = Serving(shop, {"noop@1": Noop()})
    serving.desk.accounts.papers = Papers(shop.again())
    yield serving, shop
    serving.stop()
    assert shop.journals.verify() == []


def token_of(serving: Serving, shop: Shop, customer: str, *scopes: str) -> str:
    made = shop.act(key_new, customer=customer, scopes=scopes)
    assert eventually(lambda: made.id in serving.desk.directory.picture.keys, 2)
    return str(made.token)


def test_a_key_is_good_for_what_it_says(sold: tuple[Serving, Shop]) -> None:
    serving, shop = sold
    places = {"predict": serving.predict, "usage": lambda key: serving.call("GET", "/v1/usage", key=key),
              "invoices": lambda key: serving.call("GET", "/v1/invoices", key=key)}
    for scope in places:
        token = token_of(serving, shop, "tester", scope)
        told = {name: place(token).code for name, place in places.items()}
        assert told == {name: "ok" if name == scope else "key-may-not" for name in places}
    allowed = [("POST", "/v1/embeddings"), ("POST", "/v1/chat/completions"), ("GET", "/v1/organization/costs"), ("GET", "/v1/models")]
    token = token_of(serving, shop, "tester", "invoices")
    for method, path in allowed:
        told = serving.call(method, path, {"model": "noop", "input": "x", "messages": [{"role": "user", "content": "x"}]}, key=token)
        assert told.status in (403, 400) or told.json["data"] == [], f"{path} lets a key in that is good for invoices only"
    assert [row for row in shop.journals.rows("usage") if row.kind == "use" and find_key(shop.control, row.body["key"]).scopes == ("invoices",)] == []


def test_a_customer_reads_its_own_invoices_and_nobody_elses(sold: tuple[Serving, Shop]) -> None:
    serving, shop = sold
    own = token_of(serving, shop, "tester")
    shop.act(customer_new, name="neighbour")
    other = token_of(serving, shop, "neighbour")
    assert serving.predict(own).status == 200
    number = shop.act(invoice_issue, customer="tester", early=True, language="zh").number
    with Client(f"http://127.0.0.1:{serving.port}", own) as client:
        (listed,) = client.invoices()
        document = client.invoice(number)
        assert listed.number == document["number"] == number and listed.total * 1_000_000 == document["total_micros"]
        assert client.invoice_file(number).startswith(b"%PDF")
        head, row = client.invoice_file(number, "csv").decode().splitlines()[:2]
        assert head.startswith("invoice,") and row.startswith(number)
        with pytest.raises(Refused, match="invoice-file-unknown"):
            client.invoice_file(number, "exe")
    with Client(f"http://127.0.0.1:{serving.port}", other) as client:
        assert client.invoices() == []
        told = []
        for asked in (number, number.lower(), "INV-2020-01-0001", "%00", "' or 1=1"):
            with pytest.raises(Refused) as caught:
                client.invoice_file(asked)
            told.append((caught.value.code, caught.value.status, caught.value.what.replace(repr(asked), "")))
        assert {code for code, _, _ in told} == {"invoice-unknown"} and len({what for _, _, what in told}) == 1
    assert json.loads(serving.call("GET", f"/v1/invoices/{number}/json", key=own).body) == document
    with Client(f"http://127.0.0.1:{serving.port}", token_of(serving, shop, "tester", "predict")) as client, pytest.raises(NotAllowed):
        client.invoice(number)


def test_the_page_is_walked(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    Shop.open(terminal.shop)
    walk("keys.md", terminal, {})
    shown = terminal.type("key", "--json").json
    assert [(one["may"], one["member"], one["revoked"] != "–") for one in shown] == [
        ("predict, usage", "Li", True), ("invoices, usage", "–", False), ("*", "–", False)]
