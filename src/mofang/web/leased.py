"""The runner of a leased package: the same way of a request as the server's, without shop, keys and network.

It listens on loopback unless told otherwise, and asks nobody for a key: who may reach it is the lessee's own business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import orjson
import uvicorn

from mofang.core.errors import MofangError
from mofang.engine.predictor import Predictor
from mofang.engine.request import decode_body
from mofang.serve.batching import Answers, Batcher
from mofang.trade.request.desk import Reply, answers_of
from mofang.trade.request.returning import Outbox
from mofang.web.listening import listen, shown_address
from mofang.web.plain import ANSWER, BODY, answered, deadline_ms, reader
from mofang.web.predict import PredictApp
from mofang.web.protocol import server_settings
from mofang.web.routes import Exchange, Route

DEADLINE_S = 30.0
SWEEP_S = 0.5


class Lease(Protocol):
    """What the desk needs of a lease."""

    model: Predictor
    notice: str

    def check(self) -> None:
        """Refuse where it does not hold."""
        ...

    def count(self, units: int) -> None:
        """One request was answered."""
        ...

    def state(self) -> dict[str, Any]:
        """How it stands."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class LeaseDesk:
    """Answers for one leased model (``name`` such as ``reviews@2``)."""

    def __init__(self, lease: Lease, name: str) -> None:
        self.lease, self.name = lease, name
        self.base = name.partition("@")[0]
        engine = lease.model.engine
        self.batcher = Batcher(lease.model.predict, streams=engine["streams"], batch_max=engine["batch"])
        self.pending: dict[asyncio.Future[Any], tuple[Any, float]] = {}
        self.outbox: Outbox
        self._sweeper: asyncio.Task[None]

    async def open(self) -> None:
        """Begin, on the running event loop."""
        self.outbox = Outbox(asyncio.get_running_loop())
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Finish what has begun, write the last counts, and end."""
        self._sweeper.cancel()
        await asyncio.to_thread(self.batcher.close)
        await asyncio.to_thread(self.lease.close)

    def admit(self, _token: str) -> None:
        """There are no keys here."""
        raise MofangError("key-missing")

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether answers are given."""
        try:
            self.lease.check()
        except MofangError as refusal:
            return False, {"status": refusal.code, "models": [self.name]}
        return True, {"status": "ok", "models": [self.name]}

    def waiting(self) -> int:
        """Records that wait."""
        return self.batcher.waiting

    async def answer(self, call: Exchange) -> Reply:
        """Answer one request and count it: the licence first, and again when the answer is there."""
        lease, model = self.lease, self.lease.model
        lease.check()
        asked = call.params["model"]
        if asked not in (self.name, self.base):
            raise MofangError("model-unknown", model=asked, nearest=self.name)
        body = await call.body()
        deadline_s = time.monotonic() + min(DEADLINE_S, deadline_ms(call) / 1000 or DEADLINE_S)
        self.batcher.check("", deadline_s)
        read = reader(call.headers.get(b"content-type", b""))
        records, many = read(model, body) if read else model.parse(decode_body(body))
        units = model.units(records)
        future: asyncio.Future[Any] = self.outbox.loop.create_future()

        def done(outcome: Answers | MofangError) -> None:
            self.outbox.put(future, outcome)

        ticket = self.batcher.submit(records, done, deadline_s=deadline_s, gone=call.gone)
        self.pending[future] = (ticket, deadline_s)
        try:
            outcome = await future
        finally:
            del self.pending[future]
        if isinstance(outcome, MofangError):
            raise outcome
        told = {"request_id": call.request_id, "model": self.name, "units": units, **answers_of(outcome, many)}
        data = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
        lease.count(units)
        headers = ((b"mofang-lease", lease.notice.encode()),) if lease.notice else ()
        return Reply(200, data, headers, self.name)

    async def _sweep(self) -> None:
        """Answer what is overdue."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for ticket, deadline_s in list(self.pending.values()):
                if now > deadline_s:
                    ticket.finish(MofangError("too-late"))


async def predict(call: Exchange) -> Reply:
    """Answer one record or many."""
    desk: Any = call.desk
    reply: Reply = await desk.answer(call)
    return reply


async def state(call: Exchange) -> Reply:
    """How the lease stands."""
    desk: Any = call.desk
    return Reply(200, orjson.dumps(desk.lease.state()))


async def health(call: Exchange) -> Reply:
    """Whether answers are given."""
    well, told = call.desk.health()
    return Reply(200 if well else 503, orjson.dumps(told))


ROUTES = (
    Route("POST", "/v1/predict/{model}", "open", predict, "Answer one record or many, under the lease.", "按租约回答一条或多条记录。",
          BODY | answered(ANSWER)),
    Route("GET", "/v1/lease", "open", state, "Until when the lease holds, and what was used.", "租约的期限与已用量。"),
    Route("GET", "/health", "open", health, "200 while answers are given; 503 otherwise.", "可以应答时返回 200，否则 503。"),
)


def run_leased(lease: Lease, name: str, host: str, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; the last counts are written before it ends."""
    bound = listen(host, port)
    address = shown_address(bound, host)
    app = PredictApp(LeaseDesk(lease, name), routes=ROUTES)  # type: ignore[arg-type]

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(address)

    try:
        Server(uvicorn.Config(app, **server_settings())).run(sockets=[bound])
    finally:
        bound.close()
