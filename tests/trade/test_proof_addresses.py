"""Hostile addresses for webhooks: added, tried with a real event, and no connection to any of them.

What is observed is the call itself: Python's audit event ``socket.connect`` comes before any connection of this process, whichever
library makes it. The machine that may be reached is there all the while, so that a connection would succeed.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.billing.paid import pay
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import outbox_add, outbox_remove, send_all
from tests.trade.bookkeeping import NAME, Desk, books
from tests.trade.test_outbox_posts import Double, double

__all__ = ["books", "double"]
PUBLIC = "93.184.216.34"
NAMES = {  # what a name server says, call after call
    "printer.local": ["10.0.0.5"], "metadata.google.internal": ["169.254.169.254"], "localtest.me": ["127.0.0.1"],
    "v6.example": ["::1"], "mapped.example": ["::ffff:10.0.0.1"], "nat64.example": ["64:ff9b::7f00:1"],
    "all-private.example": ["192.168.1.1", "fd00::1"], "localhost": ["127.0.0.1"],
}
HOSTILE = [
    # loopback, however it is written
    "127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "127。0。0。1",
    "１２７.０.０.１", "localhost", "localhost.", "LOCALHOST", "ⓛocalhost", "127.0.0.1.",
    # the same in IPv6, and IPv4 inside IPv6
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fd00::1]", "[ff02::1]",
    # clouds' own, private and reserved nets
    "169.254.169.254", "0xa9fea9fe", "2852039166", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "100.100.100.200", "168.63.129.16",
    "10.1.1.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    # names that lead there
    "printer.local", "metadata.google.internal", "localtest.me", "v6.example", "mapped.example", "nat64.example", "all-private.example",
]
MALFORMED = ["http://user:pass@127.0.0.1/", "http://example.com@127.0.0.1/", "http://127.0.0.1\\@example.com/", "http://127.0.0.1#@example.com/",
             "http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:80:80/", "file:///etc/passwd", "gopher://127.0.0.1/",
             "http://127.0.0.1 .example.com/", "http:///", "//127.0.0.1/", "http://[::1/", "ftp://127.0.0.1/"]

watching: list[Any] = []
seen: list[Any] = []


def audit(event: str, given: tuple[Any, ...]) -> None:
    """Hears of every connection of this process; hooks cannot be taken away, so it listens only while a test does."""
    if watching and event == "socket.connect":
        seen.append(given[1])
        if given[1] not in watching:
            raise ConnectionRefusedError(f"a connection to {given[1]}")


sys.addaudithook(audit)


@pytest.fixture
def watched(double: Double, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every connection that is begun from here on; names are resolved by our own server of names."""
    import _socket

    def resolve(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        name = str(host).rstrip(".").lower()
        found = NAMES.get(name, [str(host)])
        return [one for address in found for one in _socket.getaddrinfo(address, port, family, type, proto, _socket.AI_NUMERICHOST)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    seen.clear()
    watching.append(("127.0.0.1", double.server.server_port))
    yield seen
    watching.clear()


def tried(shop: Shop, url: str) -> str:
    """The code that a webhook to this address ends with, wherever it is refused."""
    try:
        shop.act(outbox_add, name="theirs", url=url)
    except MofangError as error:
        return error.code
    shop.act(pay, customer=NAME, amount="1", reference=url)
    outcomes = send_all(shop, post)
    shop.act(outbox_remove, name="theirs")
    assert [one.ok for one in outcomes] == [False], url
    return outcomes[0].said


def test_forty_hostile_addresses_and_no_connection(books: Desk, double: Double, watched: list[Any]) -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 40
    codes = {}
    for target in HOSTILE:
        for url in (f"http://{target}:{double.server.server_port}/hook", f"https://{target}/"):
            codes[url] = tried(books.shop, url)
    assert watched == [] and double.asked == []
    known = {"address-refused", "address-never", "host-unreadable", "host-unknown", "port-refused", "endpoint-address", "url-unreadable"}
    assert set(codes.values()) <= known, {url: code for url, code in codes.items() if code not in known}


def test_what_is_no_address_is_refused_when_it_is_added(books: Desk, double: Double, watched: list[Any]) -> None:
    assert {url: tried(books.shop, url) for url in MALFORMED} == dict.fromkeys(MALFORMED, "endpoint-address") and watched == []


def test_a_name_that_is_public_once_and_private_ever_after(books: Desk, double: Double, watched: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One look for each connection, and the connection goes to what that look gave: the second answer is never dialled."""
    looks: list[str] = []

    def rebinding(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        looks.append(host)
        address = PUBLIC if len(looks) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    import _socket

    from mofang.data.remote import address

    monkeypatch.setattr(address.socket, "getaddrinfo", lambda host, port, *a, **k: rebinding(host, port) if "rebind" in str(host)
                        else _socket.getaddrinfo(host, port, *a, **k))
    assert tried(books.shop, "http://rebind.example/hook") == "connection-failed"
    assert tried(books.shop, "http://rebind.example/hook2") == "address-refused"
    assert {one[0] for one in watched} <= {PUBLIC} and len(watched) == 1 and looks == ["rebind.example"] * 2 and double.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(books: Desk, double: Double, watched: list[Any], status: int) -> None:
    """The other side answers from an address that is allowed, and points to one that is not: there is no second connection."""
    shop = books.shop
    shop.act(outbox_add, name="theirs", url=f"{double.url}/hook", allow_private=(double.place,))
    shop.act(pay, customer=NAME, amount="1", reference="r")
    double.answers = [status]
    assert [one.ok for one in send_all(shop, post)] == [False]
    assert watched == [("127.0.0.1", double.server.server_port)] and len(double.asked) == 1
