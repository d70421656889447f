"""HTTP connections with deadlines: a slow client is dropped, and nobody else notices.

uvicorn itself waits for ever for the rest of a request. Here a connection has ``HEADER_S`` for its headers and must
then send its body at ``RATE_MIN`` bytes a second. The check costs an ordinary request nothing: a timer runs only while
a request has begun and is not complete. An answer leaves in one write instead of uvicorn's two, which on a busy machine
were a third of the server's time.

A refusal may be written while the caller still sends. Closing then would reset the connection and lose the refusal on its
way, so what still comes is read and forgotten, for ``LINGER_S`` seconds and ``LINGER_BYTES_MAX`` at most (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mofang.web.straight import Straight, Way

HEADER_S = 5.0
HEADER_BYTES_MAX = 65_536
BODY_CHECK_S = 10.0
RATE_MIN = 16_000  # bytes a second, looked at every BODY_CHECK_S
LINGER_S = 2.0
LINGER_BYTES_MAX = 64 * 2**20

BAD_REQUEST = (b'HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n'
               b'content-length: %d\r\n\r\n%s')
BAD_BODY = (b'{"error":{"code":"http-malformed","what":"This is no valid HTTP/1.1 request.",'
            b'"fix":"Use an ordinary HTTP client.","request_id":""}}')


class Connection:
    """What an application may ask of its connection beyond ASGI; it stands in the scope's ``extensions``."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def gone(self) -> bool:
        """True once the caller has hung up."""
        return self._cycle.disconnected

    def abort(self) -> None:
        """Cut the connection off, whatever is still to be sent."""
        self._cycle.transport.abort()

    def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer in one write; False where it must go through ASGI, because the caller reads too slowly.

        The headers are the server's own and hold no content from outside.
        """
        cycle = self._cycle
        if cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
            return cycle.disconnected
        lines = [STATUS_LINE[status]]
        for name, value in headers:
            if name == b"connection":
                cycle.keep_alive = False
            else:
                lines += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(body)
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


class _Lingering:
    """A transport whose ``close`` first lets the caller finish sending, where it has not."""

    def __init__(self, transport: asyncio.Transport, protocol: DeadlineProtocol) -> None:
        self.write, self._transport, self._protocol = transport.write, transport, protocol
        self.left = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.left or self._transport.is_closing()

    def close(self) -> None:
        if self.left or not self._protocol.mid_body:
            self._transport.close()
            return
        self.left = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._protocol.linger()


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with deadlines."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._way: Way | None = getattr(self.config.app, "straight", None)  # an application that knows plain requests

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = _Lingering(transport, self)
        super().connection_made(cast(asyncio.Transport, self._lingering))
        self._unfinished = self._in_headers = True
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(HEADER_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether a request is left half sent."""
        if self._lingering.left:
            self._bytes += len(data)
            if self._bytes > LINGER_BYTES_MAX:
                self.transport.close()
            return
        super().data_received(data)
        if self._unfinished:
            self._bytes += len(data)
            if self._timer is None:
                self._arm()
            if self._in_headers and self._bytes > HEADER_BYTES_MAX:
                self.transport.abort()
        elif self._timer is not None:
            self._disarm()

    @property
    def answering(self) -> bool:
        """True while an earlier request of this connection has no answer yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def mid_body(self) -> bool:
        """True while the caller is sending the body of a request whose headers are known."""
        return self._unfinished and not self._in_headers

    def linger(self) -> None:
        """Read and forget what the caller still sends, for a while."""
        self._disarm()
        self._bytes = 0
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._unfinished = self._in_headers = True
        self._bytes = 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._in_headers = False
        plain = self._way.take(self) if self._way is not None else None
        if plain is not None:
            self.cycle = plain  # type: ignore[assignment]
        else:
            self._begin_usually()
        if self._timer is not None:  # the headers came late: the body has a time of its own
            self._disarm()

    def _begin_usually(self) -> None:
        """Begin a request as uvicorn does, whose scope holds what was read."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        self.scope["extensions"] = {"mofang": Connection(self.cycle)}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        self._unfinished = False
        plain: object = self.cycle
        super().on_message_complete()
        if isinstance(plain, Straight) and not plain.response_complete and not plain.run():
            self._begin_usually()
            super().on_body(plain.body)
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Malformed HTTP is answered in the same form as every other error."""
        self.transport.write(BAD_REQUEST % (len(BAD_BODY), BAD_BODY))
        self.transport.close()

    def _arm(self) -> None:
        self._bytes = 0
        self._timer = self.loop.call_later(HEADER_S if self._in_headers else BODY_CHECK_S, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self._in_headers and self._bytes >= RATE_MIN * BODY_CHECK_S:
            self._arm()
        else:
            self.transport.abort()


def server_settings(**more: Any) -> dict[str, Any]:
    """uvicorn's settings for the prediction server: no access log, no forwarded headers, no websockets."""
    return {"http": DeadlineProtocol, "ws": "none", "access_log": False, "proxy_headers": False, "server_header": False,
            "date_header": False, "lifespan": "on", "log_level": "warning", "timeout_keep_alive": 30,
            "timeout_graceful_shutdown": 20, **more}
