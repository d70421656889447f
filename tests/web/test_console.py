"""The gate of a console: every route for every kind of person, strangers, forms, hosts, hostile requests."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mofang.core import token as tokens
from mofang.core.errors import MofangError
from mofang.core.identity import BRINGS_LOOK, ROLES
from mofang.core.shop import Shop
from mofang.manage.people import person_remove, person_roles
from mofang.web import api, pages, protocol
from mofang.web.client import Client
from mofang.web.console import Listening
from mofang.web.entrance import Limit
from mofang.web.gate import Route
from tests.web.consoling import Consoling, Reader, member, removed

TABLE = (*api.ROUTES, *pages.ROUTES)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consoling]:
    running = Consoling(Shop.open(tmp_path_factory.mktemp("console") / "shop"))
    running.entrance.limit = Limit(most=10_000)  # this module tries many wrong tokens
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tokens_of(console: Consoling) -> dict[str, str]:
    """A token for every role, and those that are no longer good."""
    found = {role: member(console.shop, f"has {role}", role) for role in (*ROLES, "owner")}
    found |= {"removed": removed(console.shop, "was here"), "expired": member(console.shop, "late", "owner", token_days=1e-9),
              "unknown": tokens.new_token("person")[1], "mistyped": "mf_person_x", "a link": tokens.new_token("invite")[1]}
    return found


@pytest.fixture(scope="module")
def readers(console: Consoling, tokens_of: dict[str, str]) -> dict[str, Reader]:
    """A browser for every role."""
    return {role: console.reads(console.entrance.login(tokens_of[role], "test")) for role in (*ROLES, "owner")}


def may(role: str, route: Route) -> bool:
    """What the table says, worked out here once more."""
    return route.who in ("anybody", "joined", role) or role == "owner" or (route.who == "look" and role in BRINGS_LOOK)


def path_of(route: Route) -> str:
    return re.sub(r"\{\w+\}", "x", route.path)


def test_every_route_of_the_application_stands_in_the_table(console: Consoling) -> None:
    app = console.server.config.app
    routes = {(method, one.path) for one in app.app.routes for method in one.methods}
    assert routes == {(one.method, one.path) for one in TABLE}, "nothing is behind the gate that it does not know"
    assert len(routes) == len(TABLE)


@pytest.mark.parametrize("route", [one for one in TABLE if one.face == "api"], ids=lambda one: f"{one.method} {one.path}")
def test_who_may_ask_the_api(console: Consoling, tokens_of: dict[str, str], route: Route) -> None:
    asked = (route.method, path_of(route), {} if route.method in ("POST", "PUT") else None)
    strangers = {"": "token-missing", tokens_of["removed"]: "token-unknown", tokens_of["expired"]: "token-expired"}
    if route.who == "anybody":
        assert console.call(*asked)[0] not in (401, 403)
        return
    for token, code in strangers.items():
        answer = console.call(*asked, token=token)
        assert (answer[0], console.code(answer)) == (401, code)
        assert answer[1]["www-authenticate"] == "Bearer"
    for role in (*ROLES, "owner"):
        status = console.call(*asked, token=tokens_of[role])[0]
        assert (status == 403) != may(role, route) and status != 401, role


@pytest.mark.parametrize("route", [one for one in TABLE if one.face == "page"], ids=lambda one: f"{one.method} {one.path}")
def test_who_may_see_a_page(console: Consoling, tokens_of: dict[str, str], readers: dict[str, Reader], route: Route) -> None:
    def opened(reader: Reader | None, **headers: str) -> int:
        if route.method == "POST":
            return console.submit(path_of(route), {}, reader, **headers)[0]
        return console.call("GET", path_of(route), cookie=reader.cookie if reader else "", **headers)[0]

    refused = {303} if route.method == "GET" else {401}
    if route.who != "anybody":
        assert opened(None) in refused and opened(Reader("made-up", "x")) in refused
        assert console.call(route.method, path_of(route), token=tokens_of["owner"])[0] in refused, "a page takes no token"
    for role in (*ROLES, "owner"):
        if route.path == "/leave":
            continue
        status = opened(readers[role])
        assert (status == 403) != may(role, route), role


def test_the_api_takes_no_cookie_and_forms_take_no_stranger(console: Consoling, readers: dict[str, Reader]) -> None:
    owner = readers["owner"]
    assert console.code(console.call("GET", "/api/me", cookie=owner.cookie)) == "token-missing"
    good = ("/models/x", {"text": "x"})
    assert console.submit(*good, owner)[0] == 404
    for foreign in (Reader(owner.cookie, "wrong"), Reader(owner.cookie, ""), Reader(owner.cookie, readers["look"].form_token)):
        assert console.submit(*good, foreign)[0] == 403, "without the page's own token"
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{console.port + 1}"):
        assert console.submit(*good, owner, origin=origin)[0] == 403
    assert console.submit(*good, owner, origin=f"http://127.0.0.1:{console.port}")[0] == 404


def test_only_its_own_host_names_are_answered(console: Consoling, tokens_of: dict[str, str]) -> None:
    for host in ("evil.example", f"evil.example:{console.port}", "127.0.0.1.evil.example", "", "localhost."):
        answer = console.call("GET", "/api/me", token=tokens_of["owner"], host=host)
        assert answer[0] == 421, host
    assert console.call("GET", "/api/me", token=tokens_of["owner"], host=f"localhost:{console.port}")[0] == 200


def test_the_link_lets_one_browser_in_once(console: Consoling) -> None:
    code = console.entrance.new_code()
    status, headers, _ = console.call("GET", f"/enter?once={code}")
    assert status == 303 and headers["location"] == "/"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    reader = console.reads(cookie.partition(";")[0].partition("=")[2])
    page = console.call("GET", "/", cookie=reader.cookie)
    assert page[0] == 200 and b"Today" in page[2]
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
        assert name in page[1]
    assert "unsafe" not in page[1]["content-security-policy"] and b"<script" not in page[2] and b"http" not in page[2].lower()
    assert console.call("GET", f"/enter?once={code}")[0] == 410 and console.call("GET", "/enter")[0] == 410
    assert len(console.links) == 1 and console.links[0] != code, "the terminal is told the next one"
    assert console.submit("/leave", {}, reader)[0] == 303
    assert console.call("GET", "/", cookie=reader.cookie)[0] == 303, "left is left"


def test_somebody_removed_is_out_at_once_and_new_roles_hold_at_once(console: Consoling) -> None:
    token = member(console.shop, "briefly", "look")
    reader = console.reads(console.entrance.login(token, "test"))
    assert console.call("GET", "/api/me", token=token)[0] == console.call("GET", "/runs", cookie=reader.cookie)[0] == 200
    assert console.call("GET", "/invoices", cookie=reader.cookie)[0] == 403
    console.shop.act(person_roles, name="briefly", roles=("money",))
    assert console.call("GET", "/invoices", cookie=reader.cookie)[0] == 200
    console.shop.act(person_remove, name="briefly")
    assert console.call("GET", "/api/me", token=token)[0] == 401
    assert console.call("GET", "/runs", cookie=reader.cookie)[0] == 303


@pytest.mark.parametrize(("argv", "code"), [
    (["serve"], "command-at-server"), (["console"], "command-at-server"), (["new", "x"], "command-here"), (["join", "x"], "command-here"),
    (["--shop", "/", "models"], "command-unknown"), (["--lang", "zh"], "command-unknown"), (["key"], "command-unknown"),
    (["nothing"], "command-unknown"), ([""], "command-unknown"), (["../models"], "command-unknown"),
])
def test_commands_that_are_not_run_for_others(console: Consoling, tokens_of: dict[str, str], argv: list[str], code: str) -> None:
    assert console.code(console.call("POST", "/api/commands", {"argv": argv}, token=tokens_of["owner"])) == code


def test_a_command_takes_its_own_role(console: Consoling, tokens_of: dict[str, str]) -> None:
    for argv, role in ((["customer", "list"], "money"), (["rates"], "money"), (["train", "x"], "train"), (["people", "list"], "owner"),
                       (["invite", "x"], "owner"), (["key", "new", "x"], "money")):
        for held in (*ROLES,):
            if held != role:
                assert console.code(console.call("POST", "/api/commands", {"argv": argv}, token=tokens_of[held])) == "not-permitted"


BAD_BODIES = [b"", b"{", b"[]", b'"x"', b'{"argv": "models"}', b'{"argv": []}', b'{"argv": ["models"], "roles": ["owner"]}',
              b'{"argv": ["models"], "width": 1e9}', b'{"argv": [1]}', "\u623f".encode("gb18030"), b'{"argv": ["models"], "files": 3}',
              b'{"argv": ["x\\ud800"]}']


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_bodies_are_refused_in_words(console: Consoling, tokens_of: dict[str, str], body: bytes) -> None:
    answer = console.call("POST", "/api/commands", body, token=tokens_of["owner"], accept_language="zh-CN")
    assert answer[0] in (400, 404, 422), answer
    assert re.search("[\u4e00-\u9fff]", json.loads(answer[2])["error"]["what"])


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "x/../../y", ".", "", "a\\b", "a\x00b", "x" * 300, "a//b", "./a"])
def test_names_of_uploads_stay_below_their_root(console: Consoling, tokens_of: dict[str, str], name: str) -> None:
    body = {"root": "x", "files": [{"name": name, "digest": "0" * 64, "size_bytes": 1}]}
    assert console.call("POST", "/api/uploads", body, token=tokens_of["look"])[0] == 422
    assert console.call("POST", "/api/uploads", {**body, "root": name}, token=tokens_of["look"])[0] == 422


@pytest.mark.parametrize("path", ["/api/uploads/..%2f..%2fledger.db?offset=0&size_bytes=1", "/api/uploads/zz?offset=0&size_bytes=1",
                                  "/api/uploads/" + "0" * 64 + "?offset=-1&size_bytes=-1"])
def test_pieces_go_nowhere_else(console: Consoling, tokens_of: dict[str, str], path: str) -> None:
    assert console.call("PUT", path, b"x", token=tokens_of["train"])[0] in (404, 409, 422)


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/runs/..%2f..%2f", "/runs/run_x'--", "/models/%00", "/invoices/..%2fx.pdf",
                                  "/static/x", "/docs", "/openapi.json", "/models/" + "x" * 5000, "//evil.example", "/runs/<script>"])
def test_strange_paths(console: Consoling, readers: dict[str, Reader], path: str) -> None:
    status, _, content = console.call("GET", path, cookie=readers["owner"].cookie, accept="text/html")
    assert status in (404, 422) and b"<script>" not in content


def test_large_bodies_are_refused_before_they_are_read(console: Consoling, tokens_of: dict[str, str]) -> None:
    head = (f"POST /api/join HTTP/1.1\r\nhost: 127.0.0.1:{console.port}\r\ncontent-length: 99999999999\r\n\r\n{{")
    with socket.create_connection(("127.0.0.1", console.port), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"body-too-large"' in answer
    chunk = console.call("PUT", f"/api/uploads/{'0' * 64}?offset=0&size_bytes=9", b"x" * (api.CHUNK_BYTES_MAX + 1), token=tokens_of["train"])
    assert console.code(chunk) == "body-too-large"
    for _ in range(20):  # the refusal reaches a caller who sends all before reading
        assert console.code(console.call("POST", "/api/join", b"x" * (12 << 20))) == "body-too-large"


def test_slow_and_endless_headers_are_cut_off(console: Consoling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_S", 0.3)
    for sent in (b"GET / HTTP/1.1\r\nhost: x", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, b"\x16\x03\x01\x02\x00\x01"):
        with socket.create_connection(("127.0.0.1", console.port), timeout=10) as connection:
            connection.sendall(sent)
            try:
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            except ConnectionResetError:
                answer = b""
        assert b" 200 " not in answer


def test_guessing_is_held_up_and_the_right_token_is_not(console: Consoling, tokens_of: dict[str, str]) -> None:
    console.entrance.limit = Limit(most=5)
    codes = [console.code(console.call("GET", "/api/me", token=tokens_of["unknown"])) for _ in range(8)]
    assert codes == ["token-unknown"] * 5 + ["too-many-tries"] * 3
    assert console.call("GET", "/api/me", token=tokens_of["look"])[0] == 200
    limit = Limit(most=1, addresses_max=10)
    assert [limit.failed(f"10.0.0.{n}") for n in range(50)] == [False] * 50 and len(limit._failed) == 10
    console.entrance.limit = Limit(most=10_000)


def test_every_visit_is_written_down_and_no_secret_is(console: Consoling, tokens_of: dict[str, str]) -> None:
    console.call("POST", "/api/commands", {"argv": ["customer", "new", "secret-customer-name"]}, token=tokens_of["look"])
    rows = [row.body for row in console.shop.journals.rows("visits")]
    last = rows[-1]
    assert (last["by"], last["status"]) == ("has look", 403) and last["asked"].startswith("POST /api/commands customer new")
    told = json.dumps(rows, ensure_ascii=False)
    assert "secret-customer-name" not in told and all(one[-38:] not in told for one in tokens_of.values() if len(one) > 38)
    assert console.shop.verify() == []


@pytest.mark.parametrize(("listening", "code"), [
    (Listening(host="0.0.0.0"), "console-plain"), (Listening(host="192.0.2.1"), "console-plain"), (Listening(host="example.com"), "console-plain"),
    (Listening(host="0.0.0.0", behind_proxy=True), "console-nameless"), (Listening(behind_proxy=True), "console-nameless"),
    (Listening(certificate=Path(__file__)), "certificate-half"),
    (Listening(certificate=Path(__file__), private_key=Path(__file__)), "certificate-unusable"),
])
def test_a_network_that_could_listen_in_is_refused(listening: Listening, code: str) -> None:
    with pytest.raises(MofangError) as caught:
        listening.check()
    assert caught.value.code == code


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A certificate for 127.0.0.1 of its own authority."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256()))
    (tmp_path / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                       serialization.NoEncryption()))
    return {"ssl_certfile": str(tmp_path / "c.pem"), "ssl_keyfile": str(tmp_path / "k.pem")}


def test_over_tls_with_an_authority_of_ones_own(shop: Shop, certificate: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    Listening(host="0.0.0.0", address="https://x.example", certificate=Path(certificate["ssl_certfile"]),
              private_key=Path(certificate["ssl_keyfile"])).check()
    running = Consoling(shop, **certificate)
    try:
        address, token = f"https://127.0.0.1:{running.port}", member(shop, "lina", "look")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(MofangError, match="certificate is not trusted here") as caught:
            Client(address, token).ask("GET", "/api/me")
        assert caught.value.code == "shop-unreachable"
        monkeypatch.setenv("SSL_CERT_FILE", certificate["ssl_certfile"])
        assert Client(address, token).ask("GET", "/api/me")["name"] == "lina"
    finally:
        running.stop()


def test_behind_a_proxy_the_proxys_name_is_answered() -> None:
    rules, address = Listening(host="0.0.0.0", behind_proxy=True, address="https://Shop.Example.com/").rules(9)
    assert rules.hosts == {"shop.example.com"} and rules.secure and address == "https://shop.example.com"
    assert Listening().rules(9)[0].hosts == {"localhost", "127.0.0.1", "[::1]"} and not Listening().rules(9)[0].secure
