"""A customer's own page: a key is shown once, a browser stays in for an hour, and sees what that key may see and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from bench._noop_server import Noop

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.token import Pepper
from mofang.trade.accounts import sessions
from mofang.trade.accounts.keys import key_new, key_revoke
from mofang.trade.billing.papers import Papers
from mofang.web import portal
from mofang.web.guessing import Limit
from tests.web.serving import Answer, Serving
from tests.web.test_pages import multipart, well_formed
from tests.web.trading import HOSTILE, PLAIN, Trading, stocked

FORM = "application/x-www-form-urlencoded"


class Rooms:
    """Models of customers' own as the page needs them: one order of one customer."""

    def __init__(self, owner: str) -> None:
        self.owner, self.taken = owner, list[tuple[str, bytes, str]]()

    def told(self, who: Any) -> list[dict[str, Any]]:
        about = {"name": "acme-reviews", "base": "reviews@1", "state": "ordered", "version": 0, "records": 12, "files": 1, "price": "¥800.00"}
        return [about] if who.id == self.owner else []

    def add(self, who: Any, name: str, data: bytes, kind: str) -> dict[str, Any]:
        if who.id != self.owner or name != "acme-reviews":
            raise MofangError("customise-unknown", name=name, nearest="-")
        before = (name, data, kind) in self.taken
        self.taken += [] if before else [(name, data, kind)]
        return {"repeated": before}


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Trading:
    return stocked(tmp_path_factory.mktemp("portal") / "shop")


@pytest.fixture(scope="module")
def keys(trading: Trading) -> dict[str, str]:
    """A key of every kind."""
    act = trading.shop.act
    made = {"all": act(key_new, customer=PLAIN), "predict": act(key_new, customer=PLAIN, scopes=("predict",)),
            "developer": act(key_new, customer=PLAIN, scopes=("predict", "usage")), "accounts": act(key_new, customer=PLAIN, member="林娜 <b>"),
            "other": act(key_new, customer=HOSTILE), "gone": act(key_new, customer=PLAIN), "soon": act(key_new, customer=PLAIN)}
    act(key_revoke, key=made["gone"].id)
    return {name: one.token for name, one in made.items()}


@pytest.fixture(scope="module")
def rooms(trading: Trading) -> Rooms:
    return Rooms(trading.ids[PLAIN])


@pytest.fixture(scope="module")
def server(trading: Trading, keys: dict[str, str], rooms: Rooms) -> Iterator[Serving]:
    serving = Serving(trading.shop, {"reviews@1": Noop()})
    serving.desk.accounts.papers = Papers(trading.shop.again())
    serving.desk.own = rooms  # type: ignore[assignment]
    yield serving
    serving.desk.own = None
    serving.stop()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module tries many wrong keys."""
    monkeypatch.setattr(portal, "limit", Limit(most=10_000))


def login(server: Serving, key: str, **headers: str) -> Answer:
    return server.call("POST", "/account/login", urlencode({"key": key}).encode(), content_type=FORM, **headers)


def enter(server: Serving, key: str) -> str:
    """The cookie of a browser that came in."""
    answer = login(server, f"  {key} ")
    assert (answer.status, answer.headers["location"]) == (303, "/account"), answer.body
    return answer.headers["set-cookie"].partition(";")[0]


def page(server: Serving, cookie: str, language: str = "en", path: str = "/account") -> str:
    answer = server.call("GET", path, cookie=cookie, accept_language=language)
    assert answer.status == 200, answer.body
    return answer.body.decode()


def token_of(text: str) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', text)
    assert found
    return found[1]


def test_a_browser_comes_in_with_a_key_and_keeps_none_of_it(server: Serving, keys: dict[str, str]) -> None:
    answer = login(server, keys["all"])
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/account", f"Max-Age={sessions.SESSION_S}"))
    assert "Secure" not in cookie and keys["all"] not in cookie and keys["all"][21:40] not in cookie
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
        assert name in answer.headers
    text = page(server, cookie.partition(";")[0])
    assert keys["all"][21:] not in text and keys["all"][8:20] in text
    assert server.call("GET", "/account/login").status == 200


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_account_on_one_page(server: Serving, keys: dict[str, str], trading: Trading, language: str) -> None:
    text = page(server, enter(server, keys["all"]), language)
    well_formed(text)
    assert PLAIN in text and "INV-2" in text and "reviews@1" in text and "<svg" in text and "acme-reviews" in text
    assert trading.ids["lease"] in text and ("租约" in text) == (language == "zh")
    assert "script" not in text and "evil" not in text and trading.ids[HOSTILE] not in text, "nothing of another customer"
    well_formed(server.call("GET", "/account/login", accept_language=language).body.decode())
    other = page(server, enter(server, keys["other"]), language)
    assert "<script" not in other and "\u202e" not in other and PLAIN not in other and "acme-reviews" not in other


def test_what_a_key_may_not_ask_is_not_shown(server: Serving, keys: dict[str, str]) -> None:
    shown = {name: page(server, enter(server, keys[name])) for name in ("predict", "developer", "accounts")}
    assert "tiles" not in shown["predict"] and "INV-" not in shown["predict"] and "neither use nor bills" in shown["predict"]
    assert "tiles" in shown["developer"] and "INV-" not in shown["developer"]
    assert "INV-" in shown["accounts"] and "&lt;b&gt;" in shown["accounts"] and 'type="file"' not in shown["accounts"]
    number = re.findall(r"INV-[\d-]+", shown["accounts"])[0]
    for name, status in (("predict", 403), ("developer", 403), ("accounts", 200), ("other", 404)):
        got = server.call("GET", f"/account/invoices/{number}/pdf", cookie=enter(server, keys[name]))
        assert got.status == status, name
    got = server.call("GET", f"/account/invoices/{number}/csv", cookie=enter(server, keys["accounts"]))
    assert got.body.startswith(b"invoice,") and got.headers["cache-control"] == "no-store"
    mine = server.call("GET", "/account/usage.csv?month=2026-10", cookie=enter(server, keys["all"]))
    assert mine.body == server.call("GET", "/v1/usage.csv?month=2026-10", key=keys["all"]).body
    assert server.call("GET", "/account/usage.csv?month=x", cookie=enter(server, keys["all"])).status == 400


def test_a_session_ends_with_its_key_and_cannot_be_made_up(server: Serving, keys: dict[str, str], trading: Trading) -> None:
    cookie = enter(server, keys["soon"])
    name, _, value = cookie.partition("=")
    id, ends, mac = value.split(".")
    other = enter(server, keys["other"]).partition("=")[2].split(".")
    known = {one.id: one for one in server.desk.directory.picture.keys.values()}
    foreign = sessions.session_of(known[id], Pepper(b"another shop's secret"), now_us())
    for bad in ("", "x", "a.b.c", f"{id}.{int(ends) + 9}.{mac}", f"{other[0]}.{ends}.{mac}", f"{id}.{ends}.{other[2]}", f"{id}.{ends}.",
                foreign, f"{id}.{'9' * 300}.{mac}", f"{id}.٣.{mac}".encode().decode("latin-1"), sessions.session_of(known[id],
                server.desk.directory.pepper, now_us() - (sessions.SESSION_S + 1) * 1_000_000), keys["soon"]):
        got = server.call("GET", "/account", cookie=f"{name}={bad}")
        assert (got.status, got.headers["location"]) == (303, "/account/login"), bad
    assert server.call("GET", "/account", key=keys["soon"]).status == 303, "a page takes no key in a header"
    assert server.call("GET", "/v1/usage", cookie=cookie).status == 401, "and the API no cookie"
    page(server, cookie)
    trading.shop.act(key_revoke, key=id)
    server.desk.directory.look()
    assert server.call("GET", "/account", cookie=cookie).status == 303
    assert server.call("GET", "/account/usage.csv", cookie=cookie).status == 303


def test_wrong_keys_are_said_so_and_guessing_is_held_up(server: Serving, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    mistyped = keys["all"][:-1] + ("0" if keys["all"][-1] != "0" else "1")
    for key, code in (("", "key-mistyped"), ("<script>", "key-mistyped"), (mistyped, "key-mistyped"), (keys["gone"], "key-revoked")):
        got = login(server, key, accept_language="zh")
        assert got.status == 401 and code in got.body.decode() and re.search("[\u4e00-\u9fff]", got.body.decode())
        assert "set-cookie" not in got.headers and b"<script" not in got.body
        well_formed(got.body.decode())
    monkeypatch.setattr(portal, "limit", Limit(most=3))
    assert [login(server, "x").status for _ in range(5)] == [401] * 3 + [429] * 2
    assert login(server, keys["all"]).status == 303, "whoever has a good key is not held up"


def test_forms_of_others_change_nothing(server: Serving, keys: dict[str, str]) -> None:
    cookie = enter(server, keys["all"])
    token = token_of(page(server, cookie))
    other = token_of(page(server, enter(server, keys["other"])))
    here = f"http://127.0.0.1:{server.port}"

    def post(path: str, given: str, **headers: str) -> Answer:
        return server.call("POST", path, urlencode({"form_token": given}).encode(), cookie=cookie, content_type=FORM, **headers)

    for given in ("", "x", other):
        assert post("/account/leave", given).status == post("/account/customisations/acme-reviews", given).status == 403
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.port + 1}"):
        assert post("/account/leave", token, origin=origin).status == 403
        assert login(server, keys["all"], origin=origin).status == 403
    assert server.call("POST", "/account/login", b"x" * (portal.LOGIN_BYTES_MAX + 1), content_type=FORM).status == 413
    assert server.call("POST", "/account/login", b"{}", content_type="application/json").status == 400
    got = post("/account/leave", token, origin=here)
    assert got.status == 303 and "Max-Age=0" in got.headers["set-cookie"]
    for path in ("/account/", "/account/x", "/account/invoices", "/account/../v1/usage", "/account/invoices/a/b/c"):
        assert server.call("GET", path, cookie=cookie).status == 404, path


def test_a_file_of_records_is_sent_from_the_page(server: Serving, keys: dict[str, str], rooms: Rooms) -> None:
    def send(key: str, name: str = "acme-reviews", kind: str = "csv") -> Answer:
        cookie = enter(server, keys[key])
        token = portal.form_token(cookie.partition("=")[2], server.desk.directory.pepper)
        told, body = multipart({"form_token": token.encode(), "kind": kind.encode()}, {"file": "text,label\n好,a\n".encode()})
        return server.call("POST", f"/account/customisations/{name}", body, cookie=cookie, content_type=told)

    assert send("all").headers["location"] == "/account?done=taken" and send("all").headers["location"] == "/account?done=before"
    assert rooms.taken == [("acme-reviews", "text,label\n好,a\n".encode(), "csv")]
    assert "taken" in page(server, enter(server, keys["all"]), path="/account?done=taken")
    assert send("accounts").status == 403, "who sees bills sends no records"
    assert send("all", kind="exe").status == 400
    theirs, nobodys = send("other"), send("other", "nobody-s")
    assert theirs.status == nobodys.status == 404
    assert re.sub(r"req_\w+|acme-reviews", "", theirs.body.decode()).replace("nobody-s", "") == re.sub(
        r"req_\w+|nobody-s", "", nobodys.body.decode()).replace("acme-reviews", "")


def test_the_language_is_kept(server: Serving, keys: dict[str, str]) -> None:
    got = server.call("GET", "/account/language?to=zh")
    assert got.status == 303 and got.headers["location"] == "/account" and "mofang_language=zh" in got.headers["set-cookie"]
    cookie = enter(server, keys["all"])
    assert 'lang="zh-CN"' in page(server, f"{cookie}; mofang_language=zh") and 'lang="en"' in page(server, cookie)
