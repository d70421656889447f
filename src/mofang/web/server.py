"""Runs the prediction server: one process, one event loop, until it is told to stop; then it drains and ends."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from mofang.trade.request.desk import Desk
from mofang.web.listening import admin_listener, listen, shown_address
from mofang.web.predict import BODY_BYTES_MAX, Door, PredictApp
from mofang.web.protocol import DeadlineProtocol, server_settings
from mofang.web.statistics import Statistics

GARBAGE = (20_000, 20, 50)


def run_server(desk: Desk, host: str, port: int, *, ready: Callable[..., None],
               body_bytes_max: int = BODY_BYTES_MAX, folder: Path | None = None,
               certificate: Path | None = None, private_key: Path | None = None, admin_port: int | None = None,
               admin_host: str = "127.0.0.1", grpc_port: int | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. ``ready`` is given the address once requests are answered, and ``admin`` and ``grpc``
    where there are such.

    What is being served, how much and how fast, is written each second below ``folder``. ``admin_port`` is a second
    listener, on loopback, for ``/metrics``; ``grpc_port`` one for the Open Inference Protocol over gRPC; 0 takes a free one.
    """
    listeners = [listen(host, port)]
    admin = admin_listener(admin_host, admin_port) if admin_port is not None else None
    listeners += [admin] if admin is not None else []
    address = shown_address(listeners[0], host, tls=certificate is not None)
    statistics = Statistics(folder, desk.health()[1]["models"], desk.waiting)
    statistics.address = address

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                for bound in listeners[1:]:  # on loopback: no TLS, whatever the customers' address speaks
                    self.servers.append(await asyncio.get_running_loop().create_server(self._connected, sock=bound))
                ready(address, **shown(admin, doors, admin_host))

        def _connected(self) -> asyncio.Protocol:
            return DeadlineProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    gc.collect()
    gc.freeze()  # models and modules stay; searching them for garbage over and over would only take time
    gc.set_threshold(*GARBAGE)
    doors: list[Door] = []
    if grpc_port is not None:
        from mofang.web.grpc import GrpcDoor

        doors.append(GrpcDoor(desk, statistics, host, grpc_port, certificate=certificate, private_key=private_key,
                              body_bytes_max=body_bytes_max))
    app = PredictApp(desk, body_bytes_max=body_bytes_max, statistics=statistics, beside=doors,
                     admin_port=admin.getsockname()[1] if admin is not None else 0)
    try:
        config = uvicorn.Config(app, **server_settings(ssl_certfile=certificate, ssl_keyfile=private_key))
        Server(config).run(sockets=listeners[:1])
    finally:
        for bound in listeners:
            bound.close()


def shown(admin: socket.socket | None, doors: Sequence[Any], host: str) -> dict[str, str]:
    """The addresses beside the customers': ``admin`` and ``grpc``."""
    found = {"admin": shown_address(admin, host)} if admin is not None else {}
    for door in doors:
        found["grpc"] = f"{door.host}:{door.port}"
    return found
