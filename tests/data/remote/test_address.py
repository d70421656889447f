"""What is connected to: nothing that is not public, however it is written, redirected to, or resolved the second time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.remote import fetch
from mofang.data.remote.address import DENIED, Allowed, is_public, plain_host, system_resolve
from mofang.data.remote.fetch import AGENT, Caps, Fetcher
from tests.data.remote.loopback import Reply, Site

TARGETS = [
    "127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
    "127。0。0。1", "127．0．0．1", "１２７.０.０.１", "localhost", "localhost.", "LOCALHOST", "ⓛocalhost",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
    "[3fff::1]", "[5f00::1]", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.100.100.200", "100.64.0.1",
    "168.63.129.16", "10.1.1.1", "172.16.0.1", "192.168.0.1", "192.0.0.170", "192.88.99.1", "198.18.0.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "192.0.2.1", "203.0.113.9",
]
REFUSED = {"address-refused", "address-never", "url-unreadable", "host-unreadable", "host-unknown", "port-refused"}


@pytest.fixture(autouse=True)
def numbers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own reading of odd numbers, and no name server."""
    import _socket

    def numeric(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        named = str(host).rstrip(".").lower() == "localhost"
        return _socket.getaddrinfo("localhost" if named else host, port, family, type, proto, 0 if named else _socket.AI_NUMERICHOST)

    monkeypatch.setattr(socket, "getaddrinfo", numeric)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every address that a socket of this process was connected to."""
    seen: list[Any] = []
    plain = socket.create_connection

    def noting(address: Any, *more: Any, **others: Any) -> Any:
        seen.append(address)
        return plain(address, *more, **others)

    monkeypatch.setattr(socket, "create_connection", noting)
    yield seen


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("open_port", [False, True])
def test_no_private_target_is_connected_to(target: str, open_port: bool, web: Site, connected: list[Any]) -> None:
    """Also where somebody listens, and whichever port is allowed."""
    allowed = Allowed(ports=(80, 443, web.port)) if open_port else Allowed()
    with Fetcher(allowed) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"http://{target}:{web.port}/"):
        pass
    assert told.value.code in REFUSED
    assert connected == [] and web.asked == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_redirect_is_checked_like_the_first_address(target: str, web: Site, connected: list[Any]) -> None:
    for status in (301, 302, 303, 307, 308):
        web.pages[f"/{status}"] = lambda _asked, status=status: Reply(status, headers={"Location": f"http://{target}/latest/meta-data"})
    allowed = Allowed.of([web.place])
    for status in (301, 302, 303, 307, 308):
        with Fetcher(allowed) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"{web.url}/{status}"):
            pass
        assert told.value.code in REFUSED
    assert {one[0] for one in connected} == {"127.0.0.1"} and {one[1] for one in connected} == {web.port}
    assert web.paths() == [f"/{status}" for status in (301, 302, 303, 307, 308)]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "//127.0.0.1:1/x", "http://u:p@127.0.0.1/",
                                    "javascript:alert(1)", "http://a b/", "http://127.0.0.1:0/"])
def test_a_redirect_to_another_scheme_leads_nowhere(target: str, web: Site, connected: list[Any]) -> None:
    web.pages["/"] = lambda _asked: Reply(302, headers={"Location": target})
    with Fetcher(Allowed.of([web.place])) as fetcher, pytest.raises(MofangError) as told, fetcher.get(web.url + "/"):
        pass
    assert told.value.code in REFUSED
    assert len(connected) <= 1


def test_a_name_that_resolves_elsewhere_the_second_time(web: Site, connected: list[Any]) -> None:
    """DNS rebinding: the name is public when it is checked, and private at every later look."""
    answers = iter([["93.184.216.34"]])
    asked = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return next(answers, ["127.0.0.1"])

    allowed = Allowed(resolve=rebinding, ports=(web.port,))
    assert allowed.pinned("evil.example", web.port) == ["93.184.216.34"]
    for _ in range(3):
        with Fetcher(allowed) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"http://evil.example:{web.port}/"):
            pass
        assert told.value.code == "address-refused"
    assert connected == [] and web.asked == []


def test_the_connection_goes_to_the_number_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the name for each connection; what is connected to is what that look gave, and only its public part."""
    looks, dialled = [], []

    class Wire:
        def connect_tcp(self, host: str, port: int, *_more: Any) -> Any:
            dialled.append((host, port))
            raise fetch.httpcore.ConnectError("nobody there")

    def resolve(host: str, _port: int) -> list[str]:
        looks.append(host)
        return ["10.0.0.1", "93.184.216.34", "127.0.0.1"]

    monkeypatch.setattr(fetch.httpcore, "SyncBackend", Wire)
    with Fetcher(Allowed(resolve=resolve)) as fetcher, pytest.raises(MofangError) as told, fetcher.get("https://mixed.example/"):
        pass
    assert told.value.code == "connection-failed"
    assert looks == ["mixed.example"] and dialled == [("93.184.216.34", 443)]


def test_only_the_machine_that_was_named_is_let_through(web: Site) -> None:
    web.put("/", "here")
    with Fetcher(Allowed.of([web.place])) as fetcher:
        with fetcher.get(web.url + "/") as answer:
            assert (answer.status, answer.read()) == (200, b"here")
        with pytest.raises(MofangError, match="only 80 and 443"), fetcher.get(f"http://127.0.0.1:{web.port + 1}/"):
            pass
        with pytest.raises(MofangError) as told, fetcher.get(f"http://localhost:{web.port}/"):
            pass
    assert told.value.code == "port-refused"
    assert web.asked[0].headers["user-agent"] == AGENT and web.asked[0].headers["host"] == web.place


@pytest.mark.parametrize("place", ["169.254.169.254:80", "100.100.100.200:80", "[fe80::1]:80", "[fd00:ec2::254]:80"])
def test_nothing_allows_the_addresses_that_hand_out_keys(place: str, connected: list[Any]) -> None:
    host, _, port = place.rpartition(":")
    with Fetcher(Allowed.of([place])) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"http://{host}:{port}/"):
        pass
    assert told.value.code == "address-never" and connected == []


def test_headers_stay_with_the_source(web: Site) -> None:
    """A key is sent to the host it is for, and not over a redirect to another."""
    from tests.data.remote.loopback import site

    with site() as other:
        other.put("/there", "there")
        web.pages["/away"] = lambda _asked: Reply(302, headers={"Location": f"{other.url}/there"})
        web.pages["/near"] = lambda _asked: Reply(302, headers={"Location": "/home"})
        web.put("/home", "home")
        with Fetcher(Allowed.of([web.place, other.place]), {"Authorization": "Bearer s3cr3t"}, web.url) as fetcher:
            for path in ("/away", "/near"):
                with fetcher.get(web.url + path) as answer:
                    assert answer.status == 200
        assert "authorization" not in other.asked[0].headers
        assert [one.headers.get("authorization") for one in web.asked] == ["Bearer s3cr3t"] * 3


def test_circles_caps_and_lies_end_in_words(web: Site) -> None:
    import gzip

    web.pages["/circle"] = lambda _asked: Reply(302, headers={"Location": "/circle"})
    web.put("/huge", b"x" * 300_000)
    web.put("/bomb", gzip.compress(b"\0" * 50_000_000), **{"Content-Encoding": "gzip"})
    web.pages["/short"] = lambda _asked: Reply(200, b"only this", length=1000)
    web.put("/odd", b"??", **{"Content-Encoding": "br"})
    web.put("/torn", b"\x1f\x8bnot gzip at all", **{"Content-Encoding": "gzip"})
    found = {}
    with Fetcher(Allowed.of([web.place]), caps=Caps(size_bytes=200_000)) as fetcher:
        for path in ("circle", "huge", "bomb", "short", "odd", "torn"):
            with pytest.raises(MofangError) as told, fetcher.get(f"{web.url}/{path}") as answer:
                answer.read()
            found[path] = told.value.code
    assert found == {"circle": "too-many-redirects", "huge": "answer-too-large", "bomb": "answer-too-large", "short": "answer-cut",
                     "odd": "answer-broken", "torn": "answer-broken"}


def test_an_egress_proxy_takes_all_requests(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go to the proxy of the environment, which resolves; what is plainly private is refused before."""
    monkeypatch.setenv(fetch.PROXY, web.url)
    web.put("/x", "by proxy")
    with Fetcher(Allowed(resolve=lambda _host, _port: ["93.184.216.34"])) as fetcher, fetcher.get("http://public.example/x") as answer:
        assert answer.read() == b"by proxy"
    with Fetcher(Allowed()) as fetcher, pytest.raises(MofangError) as told, fetcher.get("http://169.254.169.254/"):
        pass
    assert told.value.code == "address-never"
    assert [one.headers["host"] for one in web.asked] == ["public.example"]


@given(st.ip_addresses())
def test_nothing_on_the_list_is_public(address: Any) -> None:
    if any(address in one for one in DENIED if one.version == address.version):
        assert not is_public(str(address))
    assert not is_public(f"{address}%eth0") or address.version == 4


@given(st.text(max_size=60))
def test_any_host_is_plain_or_refused(host: str) -> None:
    try:
        plain = plain_host(host)
    except MofangError as error:
        assert error.code == "host-unreadable"
    else:
        assert plain and not set(plain.partition("%")[0]) & set(" /\\@#?")


def test_public_addresses_are_public() -> None:
    assert all(map(is_public, ("1.1.1.1", "93.184.216.34", "2606:4700::1111", "240e:1::1")))
    assert system_resolve("127.0.0.1", 80) == ["127.0.0.1"]
