"""A small HTTP server on loopback whose pages are functions, in a thread that ends with the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """What was asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """What is answered; ``cut`` ends the connection after so many bytes, ``length`` lies about the size."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = None


Page = Callable[[Request], Reply]


class Site:
    """Pages by path, and everything that was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.place = f"127.0.0.1:{port}"
        self.url = f"http://{self.place}"
        self.pages: dict[str, Page] = {}
        self.asked: list[Request] = []

    def put(self, path: str, body: bytes | str, kind: str = "text/html", **headers: str) -> None:
        """A fixed page; with ``etag`` it answers conditional requests."""
        data = body.encode() if isinstance(body, str) else body

        def page(asked: Request) -> Reply:
            if headers.get("etag") and asked.headers.get("if-none-match") == headers["etag"]:
                return Reply(304)
            return Reply(200, data, {"Content-Type": kind, **headers})

        self.pages[path] = page

    def paths(self) -> list[str]:
        """What was asked for, without robots.txt."""
        return [one.path for one in self.asked if one.path != "/robots.txt"]


@contextmanager
def site() -> Iterator[Site]:
    """A running site."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Request(parts.path, dict(parse_qsl(parts.query)), {name.lower(): value for name, value in self.headers.items()})
            made.asked.append(asked)
            page = made.pages.get(parts.path)
            reply = page(asked) if page else Reply(404, b"no such page")
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value.encode().decode("latin-1"))  # UTF-8 as it is
            if reply.status != 304:
                self.send_header("Content-Length", str(reply.length if reply.length is not None else len(reply.body)))
            self.end_headers()
            if reply.status != 304:
                self.wfile.write(reply.body[: reply.cut])
            if reply.cut is not None or reply.length is not None:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Silence."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Whoever hangs up does so in silence."""

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
