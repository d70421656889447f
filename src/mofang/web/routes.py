"""The table of routes of the prediction server: every request that is answered is one row here, and nothing else is.

A row is a ``Route``: method, path, who may ask, and the handler. Who may ask is decided at one place, before the handler
runs (``predict.PredictApp``): ``open`` is for anybody, ``key`` for the holder of a good key, ``session`` for a browser that
showed one, ``admin`` for who reaches the admin listener. A row without a scope cannot be written. A handler is given an
``Exchange`` and returns a ``Reply``, or opens a ``Stream``, sends its pieces and returns None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any, Literal, Protocol, TypeVar, get_args

import orjson

from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.language import Language, language_of
from mofang.serve.models import Models
from mofang.trade.accounts.own import Own
from mofang.trade.request.desk import Call, Reply
from mofang.trade.request.model import Served

DRAIN_BYTES_MAX = 65_536
KNOWN_MAX = 1024
STALL_S = 30.0  # a caller who reads nothing of a stream for so long is dropped
RETRY_AFTER = {409: b"1", 429: b"1", 503: b"1"}
JSON = (b"content-type", b"application/json")
REPLAYED = (b"idempotent-replayed", b"true")

Who = TypeVar("Who")
Scope = Literal["open", "key", "session", "admin"]
Method = Literal["GET", "POST", "DELETE"]
AsgiScope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Desk(Protocol[Who]):
    """Where a request is served: the composition root's part."""

    def admit(self, token: str) -> Who:
        """Who this key belongs to, or MofangError."""
        ...

    @property
    def served(self) -> Models:
        """The models on sale."""
        ...

    async def find(self, who: Who, model: str) -> Served:
        """The model of a name, or MofangError."""
        ...

    async def predict(self, who: Who, call: Call) -> Reply:
        """Answer and charge, or MofangError."""
        ...

    @property
    def accounts(self) -> Own:
        """What callers see of their own accounts."""
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


class Stream:
    """An answer that leaves piece by piece, in the order in which the pieces are given."""

    __slots__ = ("_gone", "_send")

    def __init__(self, send: Send, gone: Callable[[], bool]) -> None:
        self._send = send
        self._gone = gone

    async def send(self, piece: bytes) -> bool:
        """Send a piece, waiting while the caller reads too slowly; False once there is nobody to read it."""
        if self._gone():
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._send({"type": "http.response.body", "body": piece, "more_body": True}), STALL_S)
            return not self._gone()
        return False

    async def end(self) -> None:
        """Say that the answer is complete."""
        if not self._gone():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._send({"type": "http.response.body", "body": b""}), STALL_S)


class Exchange:
    """One request on its way: what a handler is given.

    ``headers`` and ``query`` are as they came (bytes), ``scope`` is ASGI's own; ``params`` holds the parts of
    the path that its route names; ``who`` is what ``Desk.admit`` gave, None on routes without a key; ``gone()``
    is True once the caller has hung up.
    """

    __slots__ = ("_body", "_send", "began_s", "desk", "gone", "headers", "method", "model", "params", "path", "query", "replayed",
                 "request_id", "scope", "statistics", "stream_open", "table", "who")

    def __init__(self, desk: Desk[Any], statistics: Any, scope: AsgiScope, receive: Receive, send: Send,
                 gone: Callable[[], bool], body_bytes_max: int) -> None:
        self.desk = desk
        self.statistics = statistics
        self.scope = scope
        self.table: Iterable[Route] = ()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.began_s = perf_counter()
        self.request_id = new_id("req")
        self.params: dict[str, str] = {}
        self.who: Any = None
        self.model = ""  # the release that answers a stream, for the figures of the server
        self.gone = gone
        self.stream_open: Stream | None = None
        self.replayed = False  # a stream whose answer was given before
        self._body = Body(self.headers, receive, body_bytes_max)
        self._send = send

    async def body(self) -> bytes:
        """The whole body, once; ``body-too-large`` as soon as that is known."""
        return await self._body.read()

    async def drain(self) -> bool:
        """Get an unread body out of the way; False: rather close the connection."""
        return await self._body.drain()

    @property
    def language(self) -> Language:
        """The language of refusals."""
        return language_of(self.headers.get(b"accept-language", b"").decode("latin-1"))

    @property
    def retry_key(self) -> str | None:
        """The Idempotency-Key, if one came."""
        found = self.headers.get(b"idempotency-key")
        return None if found is None else found.decode("latin-1")

    async def stream(self, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Stream:
        """Begin an answer in pieces (``headers`` must say its content type); the app ends it when the handler returns."""
        assert self.stream_open is None, "one answer for one request"
        self.replayed = REPLAYED in headers
        told = [*headers, (b"mofang-request-id", self.request_id.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": told})
        self.stream_open = Stream(self._send, self.gone)
        return self.stream_open


Handler = Callable[[Exchange], Awaitable[Reply | None]]
Refuse = Callable[[MofangError, Exchange], Reply]


def refusal(error: MofangError, request_id: str, language: Language) -> Reply:
    """An error as it is sent: code, what happened, what to do, and the id to ask about."""
    what, fix = error.worded(language)
    body = {"error": {"code": error.code, "what": what, "fix": fix, "request_id": request_id}}
    return Reply(error.status, orjson.dumps(body), refusal_headers(error))


def refusal_headers(error: MofangError) -> tuple[tuple[bytes, bytes], ...]:
    """What a refusal says beside its body: when to try again, how to show who one is."""
    after = RETRY_AFTER.get(error.status) if "after_s" not in error.values else str(error.values["after_s"]).encode()
    extra = ((b"www-authenticate", b"Bearer"),) if error.status == 401 else ()
    if error.status == 405:
        extra = ((b"allow", str(error.values.get("wanted", "")).replace(" or ", ", ").encode()),)
    return (*extra, (b"retry-after", after)) if after else extra


def refuse_plainly(error: MofangError, call: Exchange) -> Reply:
    """The house's own form of a refusal; a protocol with another form brings its own function."""
    return refusal(error, call.request_id, call.language)


@dataclass(frozen=True)
class Route:
    """One request that is answered. Parts of the path in braces are named: ``/v1/predict/{model}``.

    ``en`` and ``zh`` say what it does (reference page, OpenAPI); ``about`` is the rest of its OpenAPI operation:
    request body, answers, parameters. ``refuse`` words errors as the protocol's clients expect them.
    """

    method: Method
    path: str
    scope: Scope
    handler: Handler
    en: str = ""
    zh: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    refuse: Refuse = refuse_plainly
    error: dict[str, Any] | None = None  # the JSON Schema of what ``refuse`` makes, where it is not the house's own form

    def __post_init__(self) -> None:
        assert self.scope in get_args(Scope), f"{self.path}: nobody has said who may ask"
        assert self.path.startswith("/") and self.method in get_args(Method)

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The names of the path's parts in braces, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


class Node:
    """Where a part of a path leads: further parts by their text, any part, and the routes that end here by method."""

    __slots__ = ("any", "by_text", "routes")

    def __init__(self) -> None:
        self.by_text: dict[str, Node] = {}
        self.any: Node | None = None
        self.routes: dict[str, Route] = {}


class Table:
    """All routes. Paths are matched part by part, exact text before names; one path has one scope."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = Node()
        self._known: dict[str, tuple[dict[str, Route], list[str]]] = {}  # paths that were found before
        for route in routes:
            self._add(route)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes_below(self._root))

    def find(self, path: str) -> tuple[dict[str, Route], list[str]]:
        """The routes of a path by method, and the parts that they name; ``route-unknown`` where there are none."""
        known = self._known.get(path)
        if known is not None:
            return known
        node: Node | None = self._root
        named = []
        for part in path.split("/")[1:]:
            assert node is not None
            below = node.by_text.get(part)
            if below is None:
                below = node.any if part else None
                named.append(part)
            node = below
            if node is None:
                break
        if node is None or not node.routes:
            raise MofangError("route-unknown", path=path)
        if len(self._known) < KNOWN_MAX:
            self._known[path] = node.routes, named
        return node.routes, named

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path.split("/")[1:]:
            if part.startswith("{"):
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.by_text.setdefault(part, Node())
        assert route.method not in node.routes, f"{route.method} {route.path} stands twice in the table"
        assert all(one.scope == route.scope for one in node.routes.values()), f"{route.path} has two scopes"
        node.routes[route.method] = route

    def _routes_below(self, node: Node) -> list[Route]:
        found = list(node.routes.values())
        for _, below in sorted(node.by_text.items()):
            found += self._routes_below(below)
        return found + (self._routes_below(node.any) if node.any else [])
