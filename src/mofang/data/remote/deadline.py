"""Connections that end by a moment: each single wait of a request has a limit of its own, and a far side that sends a byte
now and then would keep within all of them for ever.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

import httpcore


class Until(httpcore.NetworkBackend):
    """Connections of another backend, on which nothing is waited for beyond ``seconds`` from now."""

    def __init__(self, backend: httpcore.NetworkBackend, seconds: float) -> None:
        self.backend = backend
        self.ends_s = time.monotonic() + seconds

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Any = None) -> httpcore.NetworkStream:
        """Connect, within what is left."""
        made = self.backend.connect_tcp(host, port, left(self.ends_s, timeout), local_address, socket_options)
        return UntilStream(made, self.ends_s)

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> httpcore.NetworkStream:
        """The backend's own answer."""
        return self.backend.connect_unix_socket(path, timeout, socket_options)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.backend.sleep(seconds)


class UntilStream(httpcore.NetworkStream):
    """One such connection."""

    def __init__(self, stream: httpcore.NetworkStream, ends_s: float) -> None:
        self.stream, self.ends_s = stream, ends_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes, within what is left."""
        return self.stream.read(max_bytes, left(self.ends_s, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, within what is left."""
        self.stream.write(buffer, left(self.ends_s, timeout))

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> httpcore.NetworkStream:
        """TLS over it, which ends by the same moment."""
        return UntilStream(self.stream.start_tls(ssl_context, server_hostname, left(self.ends_s, timeout)), self.ends_s)

    def get_extra_info(self, info: str) -> Any:
        """What the connection tells of itself."""
        return self.stream.get_extra_info(info)


def left(ends_s: float, timeout: float | None) -> float:
    """The seconds that may still be waited. Raises ``httpcore.ReadTimeout`` where there are none."""
    rest = ends_s - time.monotonic()
    if rest <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return rest if timeout is None else min(rest, timeout)
