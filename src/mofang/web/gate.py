"""The gate of a console: the one point where every request is let in, refused, bounded and written down.

Nothing is behind it that does not stand in its table of routes, and a route says which role it takes. Host name, who
asks, role, form token and size are looked at here and nowhere else, before anything of a body is read or believed.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool

from mofang.core.errors import MofangError
from mofang.core.identity import new_id, permit_roles
from mofang.core.journal import Journals
from mofang.core.language import current_language, language_of, set_language
from mofang.core.shop import Shop
from mofang.manage.visits import Visit, record_visit
from mofang.web.entrance import Entrance, Who
from mofang.web.forms import read_form
from mofang.web.rendering import LANGUAGE_COOKIE, SAFE
from mofang.web.routes import AsgiScope, Body, CallerGone, Receive, Send, refusal

COOKIE = "mofang_session"
KILO, MEGA = 1 << 10, 1 << 20
SEND_S = 60.0  # for one piece of an answer; who reads slower is cut off


@dataclass(frozen=True)
class Route:
    """One request that is answered. ``who`` is a role, ``joined`` (whoever has come in) or ``anybody``."""

    method: str
    path: str
    who: str
    en: str
    zh: str
    most: int = 64 * KILO
    written: bool = True  # stands in the journal of visits

    @property
    def face(self) -> Literal["api", "page"]:
        """``api`` takes personal tokens, ``page`` browser sessions; neither takes the other's."""
        return "api" if self.path.startswith("/api/") else "page"


@dataclass(frozen=True)
class Rules:
    """What the person who started the console decided."""

    hosts: frozenset[str]
    address: str
    secure: bool
    behind_proxy: bool = False


class Gate:
    """ASGI middleware around an application that it alone lets requests through to."""

    def __init__(self, app: Any, routes: Iterable[Route], shop: Shop, entrance: Entrance, rules: Rules,
                 page_error: Callable[[MofangError, Who | None], bytes]) -> None:
        self.app = app
        self.routes = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one.path))), one) for one in routes]
        self.entrance = entrance
        self.rules = rules
        self.journals = Journals(shop.control.again())
        self.page_error = page_error

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        assert scope["type"] == "http"  # websockets are switched off
        await _Exchange(self, scope, receive, send).pass_through()

    def route(self, method: str, path: str) -> Route:
        """The route of a request, or 404, or 405."""
        found = [one for shape, one in self.routes if shape.fullmatch(path)]
        if not found:
            raise MofangError("page-unknown", path=path)
        for one in found:
            if one.method == method:
                return one
        raise MofangError("method-wrong", method=method, wanted=" or ".join(one.method for one in found))


LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


class _Exchange:
    """One request on its way through the gate."""

    def __init__(self, gate: Gate, scope: AsgiScope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self._receive, self._send = gate, scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.began = time.monotonic()
        self.request_id = new_id("req")
        self.who: Who | None = None
        self.route: Route | None = None
        self.status = 0
        self.written = False
        self.state: dict[str, Any] = {"request_id": self.request_id, "did": "", "address": self._address()}

    def _text(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def _address(self) -> str:
        """Where the request comes from; behind a proxy on this machine what the proxy itself says, which is its last word."""
        peer = str((self.scope.get("client") or ("?",))[0])
        if self.gate.rules.behind_proxy and peer in LOOPBACK and b"x-forwarded-for" in self.headers:
            return self._text(b"x-forwarded-for").rpartition(",")[2].strip()[:64]
        return peer

    async def pass_through(self) -> None:
        cookies = _cookies(self._text(b"cookie"))
        set_language(language_of(cookies.get(LANGUAGE_COOKIE) or self._text(b"accept-language") or "en"))
        body = Body(self.headers, self._receive, 0)
        try:
            try:
                self._require_host()
                self.route = self.gate.route(self.scope["method"], self.scope["path"])
                await self._require_who(cookies)
                body = Body(self.headers, self._receive, self.route.most)
                data = await body.read()
                self._require_form(data)
            except MofangError as error:
                await self._refuse(error, body)
                return
            self.scope["state"] = {**self.scope.get("state", {}), **self.state, "who": self.who}
            self.state = self.scope["state"]
            await self.gate.app(self.scope, _replay(data, self._receive), self._send_safely)
        except CallerGone:
            return
        finally:
            await self._write_down()

    def _require_host(self) -> None:
        """A page of somebody else's, made to name our address, sends its own host name."""
        host = re.sub(r":\d+$", "", self._text(b"host")).lower()
        if host not in self.gate.rules.hosts:
            raise MofangError("host-wrong", host=host[:100])

    async def _require_who(self, cookies: dict[str, str]) -> None:
        route = self.route
        assert route is not None
        self.state["session"] = cookies.get(COOKIE, "")
        if route.face == "page" and self.state["session"]:
            self.who = await run_in_threadpool(self.gate.entrance.session, self.state["session"])
        if route.who == "anybody":
            return
        if route.face == "api":
            scheme, _, token = self._text(b"authorization").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise MofangError("token-missing")
            self.who = await run_in_threadpool(self.gate.entrance.bearer, token.strip(), self.state["address"])
        if self.who is None:
            raise MofangError("sign-in-first")
        if route.who != "joined" and not permit_roles(self.who.actor, route.who):
            raise MofangError("not-permitted", actor=self.who.actor.name, may=route.who)

    def _require_form(self, data: bytes) -> None:
        """A form is taken only from our own page: same origin, and with the token that the page was given."""
        if self.route is None or self.route.face == "api" or self.route.method != "POST":
            return
        origin = self._text(b"origin")
        if origin and origin.lower() not in self._origins():
            raise MofangError("form-foreign")
        self.state["form"] = form = read_form(self._text(b"content-type"), data)
        if self.who is not None and not hmac.compare_digest(str(form.get("form_token", "")).encode(),
                                                            self.who.form_token.encode()):
            raise MofangError("form-foreign")

    def _origins(self) -> set[str]:
        host = self._text(b"host").lower()
        return {f"https://{host}"} if self.gate.rules.secure else {f"http://{host}", f"https://{host}"}

    async def _refuse(self, error: MofangError, body: Body) -> None:
        language = current_language()
        page = self.route is not None and self.route.face == "page" or "text/html" in self._text(b"accept")
        if error.code == "sign-in-first" and self.scope["method"] == "GET" and page:
            headers = [(b"location", b"/login"), (b"content-length", b"0")]
            status, content = 303, b""
        elif page:
            content = self.gate.page_error(error, self.who)
            status, headers = error.status, [(b"content-type", b"text/html; charset=utf-8"),
                                             (b"content-length", str(len(content)).encode())]
        else:
            reply = refusal(error, self.request_id, language)
            status, content = reply.status, reply.body
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *reply.headers]
        if not await body.drain():
            headers.append((b"connection", b"close"))
        self.state["did"] = error.code
        await self._send_safely({"type": "http.response.start", "status": status, "headers": headers})
        await self._send_safely({"type": "http.response.body", "body": content})

    async def _send_safely(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(one for one in SAFE if one[0] not in given)]
            if self.gate.rules.secure:
                message["headers"].append((b"strict-transport-security", b"max-age=31536000"))
        elif not message.get("more_body"):
            await self._write_down()
        await asyncio.wait_for(self._send(message), SEND_S)

    async def _write_down(self) -> None:
        """Who asked for what, before the end of the answer; floods of refused strangers are not written down, so that they
        cannot fill the disk."""
        if self.written:
            return
        self.written = True
        known = self.who is not None
        stranger = not known and (self.route is None or self.state["did"] in ("too-many-tries", "sign-in-first", "host-wrong"))
        if self.route is None or stranger or not self.route.written:
            return
        did = " ".join(filter(None, (self.route.method, self.route.path, self.state["did"])))
        visit = Visit(self.who.person if self.who else "", self.who.actor.name if self.who else "", self.state["address"], did,
                      self.status, (time.monotonic() - self.began) * 1e3)
        await run_in_threadpool(record_visit, self.gate.journals, visit)


def _replay(data: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever comes after it (that the caller hung up)."""
    waiting = [{"type": "http.request", "body": data, "more_body": False}]

    async def again() -> dict[str, Any]:
        return waiting.pop() if waiting else await receive()

    return again


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(header[:4096]).items()}
    except CookieError:
        return {}
