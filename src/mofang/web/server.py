"""Runs the prediction server: one process, one event loop, until it is told to stop; then it drains and ends."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from mofang.core.errors import MofangError
from mofang.trade.desk import Desk
from mofang.web.predict import BODY_BYTES_MAX, PredictApp
from mofang.web.protocol import server_settings
from mofang.web.statistics import Statistics

GARBAGE = (20_000, 20, 50)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket (port 0: any free one); an address in use is refused in words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise MofangError("address-taken", host=host, port=port, reason=error.strerror or str(error)) from None
    return bound


def run_server(desk: Desk, host: str, port: int, *, ready: Callable[[str], None],
               body_bytes_max: int = BODY_BYTES_MAX, folder: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. ``ready`` is given the address once requests are answered.

    What is being served, how much and how fast, is written each second below ``folder``.
    """
    bound = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{bound.getsockname()[1]}"
    statistics = Statistics(folder, desk.health()[1]["models"], desk.waiting)
    statistics.address = address

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(address)

    gc.collect()
    gc.freeze()  # models and modules stay; searching them for garbage over and over would only take time
    gc.set_threshold(*GARBAGE)
    app = PredictApp(desk, body_bytes_max=body_bytes_max, statistics=statistics)
    try:
        Server(uvicorn.Config(app, **server_settings())).run(sockets=[bound])
    finally:
        bound.close()
