"""The prediction API, raw ASGI: ``POST /v1/predict/{model}``, ``GET /v1/usage``, ``GET /health``, and nothing else.

Whatever is not a route is 404, and every route that is not declared open needs a key, at one place. This face parses
the request, calls the desk and renders the outcome; prices, keys and queues are not its business. Raw ASGI because a
framework's routing and validation cost more than the whole metering (bench/serve.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Protocol, TypeVar

import orjson

from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.language import Language, language_of
from mofang.trade.desk import Call, Reply
from mofang.web.statistics import Statistics

BODY_BYTES_MAX = 8 * 1024 * 1024
DRAIN_BYTES_MAX = 65_536
PREDICT = "/v1/predict/"
RETRY_AFTER = {409: b"1", 429: b"1", 503: b"1"}

Who = TypeVar("Who")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Desk(Protocol[Who]):
    """Where a request is served: the composition root's part."""

    def admit(self, token: str) -> Who:
        """Who this key belongs to, or MofangError."""
        ...

    async def predict(self, who: Who, call: Call) -> Reply:
        """Answer and charge, or MofangError."""
        ...

    async def usage(self, who: Who) -> dict[str, Any]:
        """The caller's own account."""
        ...

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be served, and what stands to be told to anybody."""
        ...

    async def open(self) -> None:
        """Begin, on the running event loop."""
        ...

    async def close(self) -> None:
        """Finish what has begun and end."""
        ...


class CallerGone(Exception):
    """The caller hung up before the request was complete; there is nobody to answer."""


class Body:
    """A request's body: counted while it comes, and got out of the way where nobody wants it."""

    __slots__ = ("_length", "_most", "_receive", "_unread")

    def __init__(self, headers: dict[bytes, bytes], receive: Receive, most: int) -> None:
        length = headers.get(b"content-length", b"0" if b"transfer-encoding" not in headers else b"")
        self._length = int(length) if length.isdigit() else None  # what the caller says; None if nothing
        self._receive = receive
        self._most = most
        self._unread = True

    async def read(self) -> bytes:
        """The whole body; ``body-too-large`` as soon as that is known."""
        if self._length is not None and self._length > self._most:
            raise MofangError("body-too-large", most=self._most)
        parts, size = [], 0
        while self._unread:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerGone
            self._unread = bool(message.get("more_body"))
            parts.append(message["body"])
            size += len(message["body"])
            if size > self._most:
                raise MofangError("body-too-large", most=self._most)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def drain(self) -> bool:
        """Read and forget a small unread body, so that the refusal arrives; False: rather close the connection."""
        if self._unread and self._length == 0:
            return True
        if self._unread and (self._length is None or self._length > DRAIN_BYTES_MAX):
            return False
        while self._unread:
            message = await self._receive()
            self._unread = message["type"] == "http.request" and bool(message.get("more_body"))
        return True


class PredictApp:
    """The ASGI application over a desk, and the statistics of what it answered."""

    def __init__(self, desk: Desk[Any], *, body_bytes_max: int = BODY_BYTES_MAX, statistics: Statistics | None = None) -> None:
        self.desk = desk
        self.body_bytes_max = body_bytes_max
        self.statistics = statistics or Statistics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert scope["type"] == "http"
        headers = dict(scope["headers"])
        began_s = perf_counter()
        request_id = new_id("req")
        body = Body(headers, receive, self.body_bytes_max)
        exchange = scope.get("extensions", {}).get("mofang")
        try:
            reply = await self._answer(scope, headers, body, request_id, exchange.gone if exchange else never)
            if scope["path"].startswith(PREDICT):
                self.statistics.took(perf_counter() - began_s)
        except MofangError as error:
            self.statistics.refuse(error.code, error.status)
            reply = refusal(error, request_id, language_of(headers.get(b"accept-language", b"").decode("latin-1")))
            if not await body.drain():
                reply = Reply(reply.status, reply.body, (*reply.headers, (b"connection", b"close")))
        except CallerGone:
            return
        size = (b"content-length", str(len(reply.body)).encode())
        answer = [(b"content-type", b"application/json"), size, *reply.headers]
        if exchange is None or not exchange.respond(reply.status, answer, reply.body):
            await send({"type": "http.response.start", "status": reply.status, "headers": answer})
            await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], body: Body, request_id: str,
                      gone: Callable[[], bool]) -> Reply:
        method, path = scope["method"], scope["path"]
        if path == "/health":
            require(method, "GET")
            well, told = self.desk.health()
            return Reply(200 if well else 503, orjson.dumps(told))
        known = path == "/v1/usage" or (path.startswith(PREDICT) and len(path) > len(PREDICT))
        if not known:
            raise MofangError("route-unknown", path=path)
        who = self.desk.admit(bearer(headers.get(b"authorization", b"")))  # everything below belongs to a key
        if path == "/v1/usage":
            require(method, "GET")
            return Reply(200, orjson.dumps({"request_id": request_id, **await self.desk.usage(who)}))
        require(method, "POST")
        retry_key = headers.get(b"idempotency-key")
        call = Call(request_id, path[len(PREDICT):], await body.read(),
                    None if retry_key is None else retry_key.decode("latin-1"),
                    headers.get(b"mofang-arrays") == b"1", gone)
        return await self.desk.predict(who, call)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        telling: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.desk.open()
                telling = asyncio.create_task(self.statistics.tell())
                await send({"type": "lifespan.startup.complete"})
            else:
                if telling is not None:
                    telling.cancel()
                await self.desk.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def never() -> bool:
    """Under a server that does not tell, nobody has hung up."""
    return False


def require(method: str, wanted: str) -> None:
    """Refuse another method."""
    if method != wanted:
        raise MofangError("method-wrong", method=method, wanted=wanted)


def bearer(header: bytes) -> str:
    """The key in ``Authorization: Bearer …``."""
    scheme, _, token = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MofangError("key-missing")
    return token.strip()


def refusal(error: MofangError, request_id: str, language: Language) -> Reply:
    """An error as it is sent: code, what happened, what to do, and the id to ask about."""
    what, fix = error.worded(language)
    body = {"error": {"code": error.code, "what": what, "fix": fix, "request_id": request_id}}
    after = RETRY_AFTER.get(error.status)
    extra = ((b"www-authenticate", b"Bearer"),) if error.status == 401 else ()
    return Reply(error.status, orjson.dumps(body), (*extra, (b"retry-after", after)) if after else extra)
