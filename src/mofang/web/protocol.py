"""HTTP connections with deadlines: a slow client is dropped, and nobody else notices.

uvicorn itself waits for ever for the rest of a request. Here a connection has ``HEADER_S`` for its headers and must
then send its body at ``RATE_MIN`` bytes a second. The check costs an ordinary request nothing: a timer runs only while a
request has begun and is not complete.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_S = 5.0
HEADER_BYTES_MAX = 65_536
BODY_CHECK_S = 10.0
RATE_MIN = 16_000  # bytes a second, looked at every BODY_CHECK_S

BAD_REQUEST = (b'HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n'
               b'content-length: %d\r\n\r\n%s')
BAD_BODY = (b'{"error":{"code":"http-malformed","what":"This is no valid HTTP/1.1 request.",'
            b'"fix":"Use an ordinary HTTP client.","request_id":""}}')


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with deadlines. An application finds ``gone`` in the scope's extensions: has the caller hung up?"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unfinished = self._in_headers = True
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(HEADER_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether a request is left half sent."""
        super().data_received(data)
        if self._unfinished:
            self._bytes += len(data)
            if self._timer is None:
                self._arm()
            if self._in_headers and self._bytes > HEADER_BYTES_MAX:
                self.transport.close()
        elif self._timer is not None:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._unfinished = self._in_headers = True
        self._bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()
        cycle = self.cycle
        self.scope["extensions"] = {"gone": lambda: cycle.disconnected}  # type: ignore[typeddict-item]
        if self._timer is not None:  # the headers came late: the body has a time of its own
            self._disarm()

    def on_message_complete(self) -> None:
        self._unfinished = False
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
        elif not self.transport.is_closing():
            self.transport.close()


def server_settings(**more: Any) -> dict[str, Any]:
    """uvicorn's settings for the prediction server: no access log, no forwarded headers, no websockets."""
    return {"http": DeadlineProtocol, "ws": "none", "access_log": False, "proxy_headers": False, "server_header": False,
            "date_header": False, "lifespan": "on", "log_level": "warning", "timeout_keep_alive": 30,
            "timeout_graceful_shutdown": 20, **more}
