"""A prediction server inside the test process, over a model that the test writes."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import uvicorn
from bench._noop_server import Noop

from mofang.core.shop import Shop
from mofang.serve.batching import Batcher
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Served
from mofang.web.listening import listen
from mofang.web.predict import PredictApp
from mofang.web.protocol import server_settings
from mofang.web.statistics import Statistics


class Fixed(Noop):
    """A text classifier whose prediction is a function of the test."""

    def __init__(self, predict: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        super().__init__()
        self.predict = predict  # type: ignore[method-assign]


class InThread:
    """An application that uvicorn serves in a thread, on ``port``."""

    def __init__(self) -> None:
        self.socket = listen("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]

    def begin(self, app: Any, also: Sequence[Any] = (), **settings: Any) -> None:
        """Serve until ``stop``; it answers when this returns."""
        self.server = uvicorn.Server(uvicorn.Config(app, **server_settings(timeout_graceful_shutdown=5, **settings)))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket, *also]}, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        assert self.server.started

    def stop(self) -> None:
        """Ask the server to end, as SIGTERM does, and wait for it."""
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.socket.close()


class Serving(InThread):
    """One running server."""

    def __init__(self, shop: Shop, models: dict[str, Any], *, deadline_s: float = 30.0, queue_max: int = 2048,
                 body_bytes_max: int = 1 << 20, extra: Sequence[Served] = (),
                 grpc: bool = False, admin: bool = False,
                 wait_max_s: float = 0.5) -> None:
        again = shop.journals.db.again
        served = [Served(name, f"run_{name}", model, Batcher(model.predict, queue_max=queue_max, batch_max=4, wait_max_s=wait_max_s))
                  for name, model in models.items()]
        self.desk = Desk(Directory(again(), shop.secret("keys")), Meter(again()), [*served, *extra], again(),
                         deadline_s=deadline_s)
        super().__init__()
        self.admin = listen("127.0.0.1", 0) if admin else None
        statistics = Statistics()
        self.grpc = None
        if grpc:
            from mofang.web.grpc import GrpcDoor

            self.grpc = GrpcDoor(self.desk, statistics, "127.0.0.1", 0)
        self.app = PredictApp(self.desk, body_bytes_max=body_bytes_max, statistics=statistics, beside=[self.grpc] if self.grpc else [],
                              admin_port=self.admin.getsockname()[1] if self.admin else 0)
        self.begin(self.app, also=[self.admin] if self.admin else [])

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if key:
                named["authorization"] = f"Bearer {key}"
            with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come while the body is still going out
                connection.request(method, path, data, named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def predict(self, key: str, body: Any = None, model: str = "noop", **headers: str) -> Answer:
        """Ask for a prediction."""
        return self.call("POST", f"/v1/predict/{model}", {"text": "很好"} if body is None else body, key=key, **headers)


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, or ``ok``."""
        return "ok" if self.status == 200 else str(self.json["error"]["code"])
