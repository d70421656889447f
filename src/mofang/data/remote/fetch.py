"""The one way in which Mofang asks other machines over HTTP: addresses checked and pinned at every connection, redirects
followed by hand, bytes and time counted while they stream.

The check stands where the connection is made, below TLS: whatever leads there (a redirect, a second page, a name that now
resolves elsewhere) passes it, and the connection goes to the checked number with the host's own name in TLS and in the
request.
"""

from __future__ import annotations

import os
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpcore
import httpx

import mofang
from mofang.core.errors import MofangError
from mofang.data.remote.address import Allowed
from mofang.data.remote.deadline import Until
from mofang.data.remote.scheme import shown

AGENT = f"Mofang/{mofang.__version__} (+data collection; robots.txt respected)"
PROXY = "MOFANG_EGRESS_PROXY"
REDIRECTS_MOST = 10
CONNECT_S = 15.0
READ_S = 30.0
TIMEOUTS = {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": READ_S}
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Caps:
    """How much one answer may be: bytes as they are used (unpacked), and seconds from the request to the last byte."""

    size_bytes: int = 8 * 2**30
    seconds: float = 3600.0


class Checked(httpcore.NetworkBackend):
    """Connects only to addresses that are allowed, and to exactly the one that was checked."""

    def __init__(self, allowed: Allowed, timeout_s: float = CONNECT_S) -> None:
        self.allowed = allowed
        self.timeout_s = timeout_s
        self.plain = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Any = None) -> httpcore.NetworkStream:
        """Resolve, check, connect to the number. Raises what ``Allowed.pinned`` raises, or ``connection-failed``."""
        last: Exception | None = None
        for address in self.allowed.pinned(host, port):
            try:
                return self.plain.connect_tcp(address, port, timeout or self.timeout_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise MofangError("connection-failed", host=host, port=port) from last

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> httpcore.NetworkStream:
        """Never: no address of a source is a socket of this machine."""
        raise MofangError("address-refused", host=path, port=0, address=path)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Transport(httpx.BaseTransport):
    """httpx over connections that are checked; through an egress proxy if the environment names one.

    With ``within_s`` nothing that is asked over it takes longer, however slowly the other side drips.
    """

    def __init__(self, allowed: Allowed, within_s: float = 0.0) -> None:
        context = _certificates()
        self.allowed = allowed
        self.proxy = os.environ.get(PROXY, "")
        backend: httpcore.NetworkBackend = httpcore.SyncBackend() if self.proxy else Checked(allowed)
        backend = Until(backend, within_s) if within_s else backend
        self.pool: httpcore.ConnectionPool = (
            httpcore.HTTPProxy(self.proxy, ssl_context=context, network_backend=backend) if self.proxy
            else httpcore.ConnectionPool(ssl_context=context, network_backend=backend, keepalive_expiry=5.0)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer, the body still to be read."""
        if self.proxy:
            self._check_before_proxy(request.url)
        asked = httpcore.Request(
            request.method, httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port,
                                         target=request.url.raw_path),
            headers=request.headers.raw, content=request.stream, extensions=request.extensions,
        )
        answer = self.pool.handle_request(asked)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def _check_before_proxy(self, url: httpx.URL) -> None:
        """The proxy resolves for itself; what this machine can tell to be private is refused all the same."""
        try:
            self.allowed.pinned(url.host, url.port or (443 if url.scheme == "https" else 80))
        except MofangError as error:
            if error.code != "host-unknown":
                raise

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities that this machine trusts (SSL_CERT_FILE adds one), read once."""
    return ssl.create_default_context()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self.answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self.answer.iter_stream()

    def close(self) -> None:
        self.answer.close()


@dataclass
class Answer:
    """An answer whose body is read once, piece by piece, under the caps."""

    status: int
    headers: httpx.Headers
    url: str
    response: httpx.Response = field(repr=False)
    caps: Caps = field(default_factory=Caps)
    began: float = 0.0

    def pieces(self) -> Iterator[bytes]:
        """The body unpacked. Raises ``answer-too-large``, ``answer-too-slow``, ``answer-cut``, ``answer-broken``."""
        unpack = _unpacker(self.headers.get("content-encoding", ""), self.url)
        size = raw = 0
        with told(self.url):
            for piece in self.response.iter_raw():  # as it comes: who waits for a full piece waits for a drip
                raw += len(piece)
                for part in unpack(piece):
                    size += len(part)
                    if size > self.caps.size_bytes:
                        raise MofangError("answer-too-large", url=shown(self.url), most=f"{self.caps.size_bytes / 2**20:.0f} MB")
                    yield part
                if time.monotonic() - self.began > self.caps.seconds:
                    raise MofangError("answer-too-slow", url=shown(self.url), seconds=f"{self.caps.seconds:.0f}")
        said = self.headers.get("content-length", "")
        if said.isdigit() and raw < int(said):
            raise MofangError("answer-cut", url=shown(self.url), size=raw, said=said)

    def read(self) -> bytes:
        """The whole body, for answers that are known to be small by their caps."""
        return b"".join(self.pieces())


def _unpacker(encoding: str, url: str) -> Any:
    """What turns raw pieces into the body: nothing, or gzip in bounded steps, so that no small answer fills the memory."""
    if encoding.strip().lower() in ("", "identity"):
        return lambda piece: (piece,)
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise MofangError("answer-broken", url=shown(url), reason=f"Content-Encoding: {encoding[:40]}")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def unpack(piece: bytes) -> Iterator[bytes]:
        while piece:
            yield inflate.decompress(piece, 2**20)
            piece = inflate.unconsumed_tail

    return unpack


class Fetcher:
    """Asks for pages and files under the address rules; one for each source, closed when done.

    ``headers`` (they may hold a secret) go only to the host that the source names, never over a redirect elsewhere.
    """

    def __init__(self, allowed: Allowed, headers: Mapping[str, str] | None = None, home: str = "",
                 caps: Caps | None = None) -> None:
        self.allowed = allowed
        self.headers = dict(headers or {})
        self.home = _origin(home) if "://" in home else home  # a list of pages here is at home nowhere
        self.caps = caps or Caps()
        self.transport = Transport(allowed)

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None, caps: Caps | None = None) -> Iterator[Answer]:
        """The answer to a GET after at most ten redirects, each checked anew. Statuses are the caller's to judge.

        Raises ``url-unreadable``, ``too-many-redirects``, and what an address or a connection can raise.
        """
        began, seen = time.monotonic(), 0
        while True:
            asked = checked_url(url)
            sent = {"User-Agent": AGENT, "Accept-Encoding": "gzip", "Accept": "*/*"}
            if not self.home or _origin(url) == self.home:
                sent |= {**self.headers, **(headers or {})}
            with told(url):
                plain = [(name.encode(), value.encode()) for name, value in sent.items()]
                request = httpx.Request("GET", asked, headers=plain, extensions={"timeout": TIMEOUTS})
                response = self.transport.handle_request(request)
            try:
                target = response.headers.get("location", "") if response.status_code in REDIRECTS else ""
                if not target:
                    yield Answer(response.status_code, response.headers, url, response, caps or self.caps, began)
                    return
            finally:
                response.close()
            seen += 1
            if seen > REDIRECTS_MOST:
                raise MofangError("too-many-redirects", url=shown(url), most=REDIRECTS_MOST)
            following = str(_joined(asked, target))
            if asked.scheme == "https" and not following.startswith("https://"):
                raise MofangError("redirect-insecure", url=shown(url), target=shown(following))
            url = following

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def checked_url(url: str) -> httpx.URL:
    """The URL if it is one of http or https with a host and without a password. Raises ``url-unreadable``."""
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise MofangError("url-unreadable", url=shown(url)) from None
    if found.scheme not in ("http", "https") or not found.host or found.userinfo or found.port == 0:
        raise MofangError("url-unreadable", url=shown(url))
    return found


def _joined(base: httpx.URL, target: str) -> httpx.URL:
    try:
        return base.join(target)
    except (httpx.InvalidURL, ValueError):
        raise MofangError("url-unreadable", url=shown(target)) from None


def _origin(url: str) -> str:
    found = checked_url(url)
    return f"{found.scheme}://{found.host}:{found.port or ''}"


@contextmanager
def told(url: str) -> Iterator[None]:
    """Whatever a connection can raise, in our words."""
    try:
        yield
    except (httpcore.ReadTimeout, httpcore.WriteTimeout, httpcore.PoolTimeout, httpx.TimeoutException):
        raise MofangError("answer-too-slow", url=shown(url), seconds=f"{READ_S:.0f}") from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpx.ConnectError) as error:
        if "CERTIFICATE" in str(error).upper():
            raise MofangError("certificate-wrong", url=shown(url), reason=str(error)[:120]) from None
        raise MofangError("connection-failed", host=shown(url), port="") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpx.TransportError, httpx.StreamError):
        raise MofangError("answer-cut", url=shown(url), size="-", said="-") from None
    except httpcore.ProxyError:
        raise MofangError("proxy-refused", url=shown(url)) from None
    except zlib.error as error:
        raise MofangError("answer-broken", url=shown(url), reason=str(error)[:120]) from None
