"""A small listener for figures of processes that have none of their own: ``GET /metrics``, and nothing else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mofang.web.figures import Figures
from mofang.web.listening import admin_listener, admin_token, shows_token
from mofang.web.metrics import jobs_page


class Window:
    """Shows the sum of a group's figures while the block lasts; without a port nothing is shown."""

    def __init__(self, figures: Figures, port: int | None, host: str = "127.0.0.1") -> None:
        self.figures, self.host = figures, host
        self.server: ThreadingHTTPServer | None = None
        if port is not None:
            admin_listener(host, port).close()  # a port in use is refused in words
            self.server = ThreadingHTTPServer((host, port), _handler(figures, admin_token()))

    @property
    def shown(self) -> dict[str, str]:
        """Its address, as ``admin``."""
        return {"admin": f"http://{self.host}:{self.server.server_address[1]}"} if self.server else {}

    def __enter__(self) -> Window:
        if self.server is not None:
            threading.Thread(target=self.server.serve_forever, name="window", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


def _handler(figures: Figures, token: str) -> Any:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            """Answer the one path."""
            shown = shows_token(self.headers.get("authorization", "").encode("latin-1"), token)
            good = shown and self.path == "/metrics"
            told = figures.page() + jobs_page(figures.folder) if good else "Only /metrics is here, for who shows the token.\n"
            body = told.encode()
            self.send_response(200 if good else 404 if shown else 401)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_told: Any) -> None:
            """Nothing is written down of who looked."""

    return Handler
