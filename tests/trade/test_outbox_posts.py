"""What leaves the shop: at least once, in order, signed, under one id; to no private address; at Stripe one invoice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.core.signing import check_signature, fingerprint, public_key
from mofang.data.remote.registry import set_secret
from mofang.trade.billing.paid import pay
from mofang.trade.telling import sending
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import (
    Endpoint,
    Event,
    endpoints,
    given_up,
    outbox_add,
    outbox_again,
    outbox_remove,
    pending,
    send_all,
)
from tests.data.remote.test_address import TARGETS
from tests.stories.terminal import Inside
from tests.trade.bookkeeping import NAME, NOVEMBER, Desk, books, refused

__all__ = ["books"]


class Double:
    """Another side that takes, refuses or breaks off, and remembers what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []  # statuses to give first; 200 after them
        self.by_key: dict[str, bytes] = {}
        self.found: list[dict[str, str]] = []  # what a search answers
        self._open = threading.Event()
        self._open.set()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                double.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                double._open.wait(30)
                status = double.answers.pop(0) if double.answers else 200
                if status == 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                key = self.headers["idempotency-key"]
                said = double.by_key.setdefault(key, json.dumps({"id": f"in_{len(double.by_key)}", "status": "draft"}).encode())
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_GET(self) -> None:
                double.asked.append((self.path, {}, b""))
                said = json.dumps({"data": double.found}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_DELETE(self) -> None:
                double.asked.append((f"DELETE {self.path}", {}, b""))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}"

    def hold(self) -> None:
        """Take what comes, and answer nothing until ``let_go``."""
        self._open.clear()

    def let_go(self) -> None:
        """Answer again."""
        self._open.set()


@pytest.fixture
def double() -> Iterator[Double]:
    made = Double()
    yield made
    made.server.shutdown()
    made.server.server_close()


def told(shop: Shop, double: Double, kind: str = "webhook", secret: str = "s") -> Endpoint:
    set_secret(shop, "s", "whsec_" + base64.b64encode(b"a secret of twenty-four").decode())
    made: Endpoint = shop.act(outbox_add, name="books", url=double.url + ("/hook" if kind == "webhook" else ""), kind=kind, secret=secret,
                              allow_private=(double.place,))
    return made


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    at = now_us() + seconds * 1_000_000
    monkeypatch.setattr(sending, "now_us", lambda: at)


def test_a_payment_is_told_once_signed(books: Desk, double: Double) -> None:
    shop = books.shop
    shop.act(pay, customer=NAME, amount="1", reference="before")
    told(shop, double)
    assert pending(shop.control, endpoints(shop.control)[0]) == [], "what was before is nobody's business"
    shop.act(pay, customer=NAME, amount="5", reference="一号", by="wechat")
    assert [one.ok for one in send_all(shop, post)] == [True] and send_all(shop, post) == []
    (path, headers, body), = double.asked
    event = json.loads(body)
    assert (path, event["type"], event["data"]["micros"], event["data"]["reference"]) == ("/hook", "payment.booked", 5_000_000, "一号")
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(b"a secret of twenty-four", message, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}" and headers["webhook-id"] == headers["idempotency-key"] == event["id"]
    signer = check_signature(json.loads(headers["mofang-signature"]), "webhook", message)
    assert signer == fingerprint(public_key(shop))
    with pytest.raises(MofangError):
        check_signature(json.loads(headers["mofang-signature"]), "webhook", message + b" ")
    assert shop.journals.verify() == []


def test_refused_and_cut_it_is_tried_again_under_the_same_id(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = books.shop
    told(shop, double, secret="")
    shop.act(pay, customer=NAME, amount="5", reference="a")
    double.answers = [500, 0, 302]
    found = []
    for tries, pause_s in enumerate((0, 10, 40, 300, 1500)):
        later(monkeypatch, pause_s)
        found.append([(one.ok, one.again) for one in send_all(shop, post)])
        assert tries != 1 or found[1] == [], "not before its pause is over"
    assert found == [[(False, True)], [], [(False, True)], [(False, True)], [(True, False)]]
    ids = [headers["webhook-id"] for _, headers, _ in double.asked]
    assert len(set(ids)) == 1 and len(ids) == 4
    assert "webhook-signature" not in double.asked[0][1] and "mofang-signature" in double.asked[0][1]


def test_after_a_kill_it_is_told_again(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = books.shop
    told(shop, double)
    shop.act(pay, customer=NAME, amount="5", reference="a")

    def killed(*given: Any) -> str:
        post(*given)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_all(shop, killed)
    assert send_all(shop, post) == [], "it may still be on its way"
    later(monkeypatch, 121)
    assert [one.ok for one in send_all(shop, post)] == [True]
    assert len({headers["webhook-id"] for _, headers, _ in double.asked}) == 1 and len(double.asked) == 2


def test_what_was_told_long_ago_is_looked_at_no_more(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = books.shop
    made = told(shop, double)
    monkeypatch.setattr(sending, "PASSED_LEAST", 3)

    def after() -> int:
        return int(shop.control.rows("select after_position from endpoint")[0][0])

    first = after()
    for number in range(2):
        shop.act(pay, customer=NAME, amount="5", reference=str(number))
    send_all(shop, post)
    assert after() == first, "few are no burden"
    for number in range(2, 6):
        shop.act(pay, customer=NAME, amount="5", reference=str(number))
    double.answers = [200, 200, 500]
    send_all(shop, post)
    assert len(pending(shop.control, made)) == 1 and after() > first, "those before the one that failed are done with"
    moved = after()
    later(monkeypatch, 31)
    assert [one.ok for one in send_all(shop, post)] == [True, True] and pending(shop.control, made) == []
    assert after() >= moved and len({headers["webhook-id"] for _, headers, _ in double.asked}) == 6
    shop.act(pay, customer=NAME, amount="5", reference="last")
    assert [one.ok for one in send_all(shop, post)] == [True] and send_all(shop, post) == []
    assert shop.journals.verify() == []


def test_two_at_once_tell_it_once(books: Desk, double: Double) -> None:
    shop = books.shop
    told(shop, double)
    shop.act(pay, customer=NAME, amount="5", reference="a")
    barrier = threading.Barrier(4)

    def one() -> None:
        own = shop.again()
        barrier.wait(30)
        send_all(own, post)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(double.asked) == 1


def test_given_up_after_the_last_try_and_taken_up_by_hand(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = books.shop
    made = told(shop, double)
    shop.act(pay, customer=NAME, amount="5", reference="a")
    double.answers = [500] * sending.TRIES_MOST
    for tries in range(sending.TRIES_MOST + 3):
        later(monkeypatch, tries * 7 * 3600)
        send_all(shop, post)
    assert len(double.asked) == sending.TRIES_MOST and given_up(shop.control) == [("books", 1)] and pending(shop.control, made) == []
    shop.act(outbox_again, name="books")
    assert [one.ok for one in send_all(shop, post)] == [True] and given_up(shop.control) == []
    shop.act(outbox_remove, name="books")
    refused("endpoint-unknown", lambda: shop.act(outbox_again, name="books"))
    assert shop.journals.verify() == []


def test_a_bill_becomes_one_invoice_at_stripe(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = books.shop
    set_secret(shop, "s", "sk_test_1")
    monkeypatch.setattr("mofang.trade.telling.posting.now_us", books.clock)
    made = told(shop, double, "stripe")
    set_secret(shop, "s", "sk_test_1")
    books.use(1000, 2000, at_us=NOVEMBER)
    number = books.bill("2026-11", early=True).number
    double.answers = [200, 200, 200, 0]  # cut off at the last step
    assert [one.ok for one in send_all(shop, post)] == [False]
    later(monkeypatch, 60)
    assert [(one.ok, one.said) for one in send_all(shop, post)] == [(True, "ok")]
    paths = [path for path, _, _ in double.asked]
    assert paths == ["/v1/customers", "/v1/invoices", "/v1/invoiceitems", "/v1/invoices/in_1/finalize",
                     "/v1/invoices", "/v1/invoiceitems", "/v1/invoices/in_1/finalize"]
    keys = [headers["idempotency-key"] for _, headers, _ in double.asked]
    assert len(set(keys)) == 4, "what was made there before is found again, not made twice"
    form = parse_qs(double.asked[2][2].decode())
    assert (form["amount"], form["currency"], form["description"]) == (["1500"], ["cny"], ["reviews@1"])
    assert parse_qs(double.asked[1][2].decode())["metadata[mofang]"] == [number]
    assert all(headers["authorization"] == "Bearer sk_test_1" for _, headers, _ in double.asked)
    assert made.kind == "stripe" and "sk_test" not in json.dumps([row.body for row in shop.journals.rows("outbox")])


@pytest.mark.parametrize("status", ["draft", "open"])
def test_where_stripe_has_forgotten_the_keys_it_is_asked_first(books: Desk, double: Double, monkeypatch: pytest.MonkeyPatch,
                                                               status: str) -> None:
    told(books.shop, double, "stripe")
    books.use(1000, at_us=NOVEMBER)
    number = books.bill("2026-11", early=True).number
    double.answers = [500]
    assert [one.ok for one in send_all(books.shop, post)] == [False]  # by the test's clock this was three weeks ago
    double.found = [{"id": "in_old", "status": status}]
    later(monkeypatch, 60)
    assert [one.ok for one in send_all(books.shop, post)] == [True]
    paths = [path for path, _, _ in double.asked]
    assert number in paths[2]
    new = ["DELETE /v1/invoices/in_old", "/v1/invoices", "/v1/invoiceitems", "/v1/invoices/in_1/finalize"]
    assert paths[3:] == (new if status == "draft" else []), "what was begun is made anew, what is finished stays"


@pytest.mark.parametrize("target", TARGETS)
def test_no_private_address_is_told(target: str, double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import _socket

    def numeric(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        named = str(host).rstrip(".").lower() == "localhost"
        return _socket.getaddrinfo("localhost" if named else host, port, family, type, proto, 0 if named else _socket.AI_NUMERICHOST)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    monkeypatch.setattr(socket, "create_connection", never)
    monkeypatch.setattr("mofang.trade.telling.posting.signed", lambda *_: (b"{}", {}))
    event = Event("row_1", "payment.booked", "cus_1", 0, {})
    for port in (80, double.server.server_port):
        with pytest.raises(MofangError):
            post(None, Endpoint("x", "webhook", f"http://{target}:{port}/"), event)  # type: ignore[arg-type]
    assert double.asked == []


def test_typed(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    terminal.type("--shop", "shop", "customer", "new", "Book Shop")
    for url in ("ftp://x/", "http://u:p@x/", "x", "http://a b/", "http://x:0/", "javascript:1"):
        assert terminal.type("outbox", "add", "a", "--url", url, status=1).code == "endpoint-address"
    assert terminal.type("outbox", "add", "s", "--url", "https://api.stripe.com", "--kind", "stripe", status=1).code == "endpoint-secret"
    terminal.type("outbox", "add", "books", "--url", "http://127.0.0.1:9/hook", "--secret", "s")
    terminal.type("pay", "Book Shop", "5", "--reference", "1")
    assert terminal.type("outbox", "list", "--json").json[0]["waiting"] == 1
    assert terminal.type("outbox", "send", "--json").json[0]["said"] == "secret-missing"
    terminal.type("outbox", "secret", "s", given="whsec_abc\n")
    assert terminal.type("outbox", "send", "--again", "books", "--json").json[0]["said"] == "port-refused"
    assert "whsec" not in terminal.type("outbox", "list", "--json").out
