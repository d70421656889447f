"""The prediction API, raw ASGI: what stands in the table of routes, and nothing else.

Whatever is not a route is 404, and who may ask is decided here, at one place, before any handler runs. This face parses
the request, calls the desk and renders the outcome; prices, keys and queues are not its business. Raw ASGI because a
framework's routing and validation cost more than the whole metering (bench/serve.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any, Protocol

from mofang.core.errors import MofangError
from mofang.serve.boundary import attempt_async
from mofang.trade.request.desk import Desk as Till
from mofang.trade.request.desk import Reply
from mofang.web import account, custom, invoiced, metrics, oip, openai, openapi, plain, portal
from mofang.web.listening import admin_token, shows_token
from mofang.web.routes import (
    JSON,
    REPLAYED,
    AsgiScope,
    CallerGone,
    Desk,
    Exchange,
    Receive,
    Refuse,
    Route,
    Send,
    Table,
    refuse_plainly,
)
from mofang.web.statistics import Statistics
from mofang.web.straight import Way

PLAIN = "/v1/predict/{model}"  # what ``straight`` answers as well
BODY_BYTES_MAX = 8 * 1024 * 1024
# one line for each protocol: its module's ROUTES
ROUTES: tuple[Route, ...] = (*plain.ROUTES, *account.ROUTES, *invoiced.ROUTES, *openai.ROUTES, *oip.ROUTES, *custom.ROUTES,
                            *portal.ROUTES, *metrics.ROUTES, *openapi.ROUTES)


class Door(Protocol):
    """Another protocol's listener, on the same event loop."""

    async def open(self) -> None:
        """Begin to answer."""
        ...

    async def close(self) -> None:
        """Finish what has begun and end."""
        ...


class PredictApp:
    """The ASGI application over a desk and a table of routes, and the statistics of what it answered.

    ``admin_port`` is the port whose listener answers the routes of scope ``admin``, and no customer; 0: there is none.
    ``beside`` are doors of other protocols, opened and closed with this one.
    """

    def __init__(self, desk: Desk[Any], *, body_bytes_max: int = BODY_BYTES_MAX, statistics: Statistics | None = None,
                 routes: Iterable[Route] = ROUTES, admin_port: int = 0, beside: Sequence[Door] = ()) -> None:
        self.desk = desk
        self.body_bytes_max = body_bytes_max
        self.statistics = statistics or Statistics()
        self.table = Table(routes)
        self.admin_port, self.admin_token = admin_port, admin_token() if admin_port else ""
        self.beside = tuple(beside)
        sells = any(route.path == PLAIN for route in self.table)
        self.straight = Way(self, desk) if sells and isinstance(desk, Till) else None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert scope["type"] == "http"
        connection = scope.get("extensions", {}).get("mofang")
        call = Exchange(self.desk, self.statistics, scope, receive, send, connection.gone if connection else never,
                        self.body_bytes_max)
        call.table = self.table
        refuse: list[Refuse] = [refuse_plainly]
        outcome = await attempt_async(self._answer(call, scope, refuse))
        if isinstance(outcome, CallerGone) or (outcome is None and call.stream_open is None):
            return
        if call.stream_open is not None:
            await self._end_stream(call, outcome, connection)
            return
        if not isinstance(outcome, Reply):
            outcome = await self._refused(call, outcome, refuse[0])
        await self._send(call, outcome, connection, send)

    async def _answer(self, call: Exchange, scope: AsgiScope, refuse: list[Refuse]) -> Reply | None:
        """Find the route, let in who may ask, and have the handler answer."""
        found, named = self.table.find(call.path)
        one = next(iter(found.values()))
        at_admin = bool(self.admin_port) and (scope.get("server") or ("", 0))[1] == self.admin_port
        if one.scope != "open" and (one.scope == "admin") != at_admin:
            raise MofangError("route-unknown", path=call.path)
        if at_admin and not shows_token(call.headers.get(b"authorization", b""), self.admin_token):
            raise MofangError("admin-token-wrong")
        refuse[0] = one.refuse
        if one.scope == "key":
            call.who = self.desk.admit(bearer(call.headers.get(b"authorization", b"")))
        elif one.scope == "session":
            call.who = portal.resumed(call)
        route = found.get(call.method)
        if route is None:
            raise MofangError("method-wrong", method=call.method, wanted=" or ".join(sorted(found)))
        refuse[0] = route.refuse
        if named:
            call.params = dict(zip(route.named, named, strict=True))
        reply = await route.handler(call)
        if route.scope == "key" and route.method == "POST":
            model = reply.model if reply else call.model  # of nothing that is metered where there is none
            again = REPLAYED in reply.headers if reply else call.replayed or call.gone()
            self.statistics.took(perf_counter() - call.began_s, model, call.request_id if model and not again else "")
        return reply

    async def _refused(self, call: Exchange, fault: Any, refuse: Refuse) -> Reply:
        """A refusal as the protocol words it; a fault that nobody foresaw is our own mistake, and is kept."""
        error = fault if isinstance(fault, MofangError) else MofangError("server-fault", request=call.request_id)
        if error is not fault:
            self.statistics.fault(call.request_id, fault)
        self.statistics.refuse(error.code, error.status)
        reply = refuse(error, call)
        if not await call.drain():
            reply = Reply(reply.status, reply.body, (*reply.headers, (b"connection", b"close")))
        return reply

    async def _end_stream(self, call: Exchange, outcome: Any, connection: Any) -> None:
        """A stream that broke is cut off, so that nobody takes it for a complete answer."""
        assert call.stream_open is not None
        if outcome is None:
            await call.stream_open.end()
            return
        code, status = (outcome.code, outcome.status) if isinstance(outcome, MofangError) else ("server-fault", 500)
        self.statistics.refuse(code, status)
        if not isinstance(outcome, MofangError):
            self.statistics.fault(call.request_id, outcome)
        if connection is not None:
            connection.abort()

    async def _send(self, call: Exchange, reply: Reply, connection: Any, send: Send) -> None:
        took_ms = (perf_counter() - call.began_s) * 1000
        answer = [JSON, (b"content-length", b"%d" % len(reply.body)), (b"mofang-request-id", call.request_id.encode()),
                  (b"server-timing", b"total;dur=%.2f" % took_ms)]
        if reply.headers:
            answer += reply.headers
            if any(name == b"content-type" for name, _ in reply.headers):
                del answer[0]
        if connection is None or not connection.respond(reply.status, answer, reply.body):
            await send({"type": "http.response.start", "status": reply.status, "headers": answer})
            await send({"type": "http.response.body", "body": reply.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        telling: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.desk.open()
                for door in self.beside:
                    await door.open()
                telling = asyncio.create_task(self.statistics.tell())
                await send({"type": "lifespan.startup.complete"})
            else:
                if telling is not None:
                    telling.cancel()
                for door in self.beside:
                    await door.close()
                await self.desk.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def never() -> bool:
    """Under a server that does not tell, nobody has hung up."""
    return False


def bearer(header: bytes) -> str:
    """The key in ``Authorization: Bearer …``."""
    scheme, _, token = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MofangError("key-missing")
    return token.strip()
