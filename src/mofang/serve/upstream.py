"""A lean HTTP/1.1 client for engines elsewhere: connections are kept, answers come piece by piece, and closing one stops it.

Names are resolved before each connection and held against the list of addresses that may be reached; no redirect is followed
and no proxy of the environment is used. A general client costs more than the whole gateway (bench/gateway.py).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from mofang.core.errors import MofangError
from mofang.data.remote.address import Allowed

CONNECTIONS_MAX = 512
IDLE_S = 30.0
CONNECT_S = 5.0
HELD_BYTES_MAX = 1 << 20     # of an answer that nobody reads, before the other side is made to wait
ANSWER_BYTES_MAX = 64 << 20
LOOK_S = 0.2                 # between two looks whether the caller is still there


class Connection(asyncio.Protocol):
    """One connection, and the answer that it is giving."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.used_s = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Ready for the next answer."""
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[bytes, bytes] = {}
        self.status = 0
        self.complete = self.lost = self.any = self.keeps = False
        self.fault = ""
        self.chunks: deque[bytes] = deque()
        self.held = 0
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport to write to."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; bytes that nobody asked for would be taken for the next answer, so they end the connection."""
        if self.complete:
            self.lost = True
            self.transport.abort()
            return
        self.any = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fault = str(error)[:100] or "no HTTP"
            self.lost = True
            self.transport.abort()
        self._wake()

    def on_message_begin(self) -> None:
        """An answer begins; a second one behind the first is none of ours."""
        if self.complete:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The status is known, and whether the connection may be used again; the parser forgets that at the end."""
        self.status = self.parser.get_status_code()
        self.keeps = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.chunks.append(body)
        self.held += len(body)
        if self.held > HELD_BYTES_MAX:
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or we, closed."""
        self.lost = True
        self._wake()

    def take(self) -> bytes:
        """What has come of the body and was not taken."""
        found = b"".join(self.chunks)
        self.chunks.clear()
        if self.held > HELD_BYTES_MAX and not self.lost:
            self.transport.resume_reading()
        self.held = 0
        return found

    async def more(self, until_s: float, gone: Callable[[], bool]) -> None:
        """Wait until something comes. Raises ``remote-timeout``, ``caller-gone``."""
        while True:
            self.waiter = asyncio.get_running_loop().create_future()
            handle = asyncio.get_running_loop().call_later(LOOK_S, self._wake)
            await self.waiter
            handle.cancel()
            if gone():
                raise MofangError("caller-gone")
            if self.chunks or self.complete or self.lost or self.status:
                return
            if time.monotonic() > until_s:
                raise MofangError("remote-timeout")

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Answer:
    """An answer whose status is known; ``close`` ends it, and an unfinished one takes its connection with it."""

    def __init__(self, upstream: Upstream, connection: Connection, until_s: float, gone: Callable[[], bool]) -> None:
        self._upstream, self._connection, self._until_s, self._gone = upstream, connection, until_s, gone
        self.status, self.headers = connection.status, dict(connection.headers)

    async def read(self) -> bytes:
        """The whole body. Raises ``remote-broken``, ``remote-timeout``, ``caller-gone``."""
        found, size = [], 0
        async for piece in self.pieces():
            found.append(piece)
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                raise MofangError("remote-broken", reason="too long an answer")
        return found[0] if len(found) == 1 else b"".join(found)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        one = self._connection
        one.status = 0  # it is known: from here on only more of the body wakes
        while True:
            if one.chunks:
                yield one.take()
            elif one.complete:
                return
            elif one.lost:
                raise MofangError("remote-broken", reason=one.fault or "the connection was closed")
            else:
                await one.more(self._until_s, self._gone)

    def close(self) -> None:
        """Give the connection back, or end it where more would come."""
        self._upstream.give_back(self._connection)


class Upstream:
    """One engine elsewhere. Its coroutines run on one event loop."""

    def __init__(self, url: str, allowed: Allowed, secret: str = "", timeout_s: float = 120.0) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host, self.tls = parts.hostname, parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.path, self.allowed, self.timeout_s = parts.path.rstrip("/"), allowed, timeout_s
        authority = self.host if ":" not in self.host else f"[{self.host}]"
        shown = authority if self.port in (80, 443) else f"{authority}:{self.port}"
        given = f"authorization: Bearer {secret}\r\n" if secret else ""
        self._head = f"host: {shown}\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n{given}".encode("latin-1")
        self._idle: list[Connection] = []
        self._open = 0

    async def ask(self, path: str, body: bytes, gone: Callable[[], bool], headers: Mapping[str, str] | None = None) -> Answer:
        """Send a POST; the answer once its status is known.

        Raises ``remote-unreachable``, ``remote-timeout``, ``remote-broken``, ``busy`` and the refusals of addresses. A kept
        connection that the other side had closed meanwhile is tried once more on a new one.
        """
        until_s = time.monotonic() + self.timeout_s
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()).encode("latin-1")
        data = b"POST %s%s HTTP/1.1\r\n%s%scontent-length: %d\r\n\r\n%s" % (
            self.path.encode(), path.encode(), self._head, more, len(body), body)
        while True:
            kept = self._kept()
            one = kept or await self._connect()
            one.begin()
            one.transport.write(data)
            try:
                while not one.status and not one.lost:
                    await one.more(until_s, gone)
            except MofangError:
                self._end(one)
                raise
            if one.status:
                return Answer(self, one, until_s, gone)
            self._end(one)
            if kept is None or one.any:
                raise MofangError("remote-broken", reason=one.fault or "the connection was closed")

    @property
    def under_way(self) -> int:
        """Answers that are awaited or being read."""
        return self._open - len(self._idle)

    def give_back(self, one: Connection) -> None:
        """Keep a connection whose answer is whole; close any other."""
        again = one.complete and not one.lost and one.keeps
        one.used_s = time.monotonic()
        if again:
            self._idle.append(one)
        else:
            self._end(one)

    def close(self) -> None:
        """Close what is kept."""
        for one in self._idle:
            one.transport.close()
        self._idle.clear()

    def _kept(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        while self._idle:
            one = self._idle.pop()
            if not one.lost and time.monotonic() - one.used_s < IDLE_S:
                return one
            self._end(one)
        return None

    def _end(self, one: Connection) -> None:
        self._open -= 1
        one.transport.abort()

    async def _connect(self) -> Connection:
        if self._open >= CONNECTIONS_MAX:
            raise MofangError("busy", waiting=self._open)
        self._open += 1
        try:
            return await self._connected()
        except BaseException:
            self._open -= 1
            raise

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        found = await asyncio.to_thread(self.allowed.pinned, self.host, self.port)
        settings: dict[str, Any] = {"ssl": ssl.create_default_context(), "server_hostname": self.host} if self.tls else {}
        reason = ""
        for address in found:
            try:
                opening = loop.create_connection(Connection, address, self.port, **settings)
                _, made = await asyncio.wait_for(opening, CONNECT_S)
                return made
            except (OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise MofangError("remote-unreachable", host=self.host, port=self.port, reason=reason[:200])
