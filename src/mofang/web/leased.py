"""The runner of a leased package: the same way of a request as the server's, without shop, keys and network.

It listens on loopback unless told otherwise, and asks nobody for a key: who may reach it is the lessee's own business.
Conversations, prompts and vectors are answered by the handlers of the OpenAI protocols themselves: towards them the desk
here is a desk that sets no money aside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import orjson
import uvicorn

from mofang.core.errors import MofangError
from mofang.engine.request import decode_body
from mofang.serve.batching import Answers, Batcher, Ticket
from mofang.serve.generation import same_answers
from mofang.trade.leases.opening import Model, generates
from mofang.trade.leases.writing import LeasedDriver
from mofang.trade.request.desk import Reply, answers_of
from mofang.trade.request.model import Served
from mofang.trade.request.opened import Asked
from mofang.trade.request.replay import Stored
from mofang.trade.request.returning import Outbox, Receiver
from mofang.web import openai
from mofang.web.listening import listen, shown_address
from mofang.web.openai_told import refuse
from mofang.web.plain import ANSWER, BODY, answered, deadline_ms, reader
from mofang.web.predict import PredictApp
from mofang.web.protocol import server_settings
from mofang.web.routes import AsgiScope, Exchange, Handler, Receive, Route, Send

DEADLINE_S = 30.0
SWEEP_S = 0.5
NOTICE = b"mofang-lease"
OPENAI = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class Lease(Protocol):
    """What the desk needs of a lease."""

    notice: str

    @property
    def model(self) -> Model:
        """What answers."""
        ...

    def check(self) -> None:
        """Refuse where it does not hold."""
        ...

    def count(self, units: int, requests: int = 1) -> None:
        """One request was answered, or so many units more of one."""
        ...

    def state(self) -> dict[str, Any]:
        """How it stands."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class Even:
    """A token that is written counts as one that is read."""

    def output(self, _model: str) -> int:
        """What a written token counts as."""
        return 1


@dataclass(slots=True)
class Taken:
    """A request that was taken in: nothing is set aside for it. What is not counted while it is written is counted at its end."""

    lease: Lease
    written: bool
    price: None = None

    async def settle(self, units: int, answer: bytes, **_more: Any) -> Stored:
        """The answer, counted."""
        if not self.written:
            self.lease.check()
            self.lease.count(units)
        return Stored("", "", 200, answer, replayed=False)

    def abandon(self) -> None:
        """Nothing was answered."""


@dataclass(frozen=True, slots=True)
class Lessee:
    """Whoever reaches the runner: all that the desk's handlers ask of a caller."""

    id: str = ""

    @property
    def customer(self) -> Lessee:
        """The same."""
        return self


class LeaseDesk:
    """Answers for one leased model (``name`` such as ``reviews@2``)."""

    gateway = rollout = own = None
    deadline_s = DEADLINE_S

    def __init__(self, lease: Lease, name: str) -> None:
        self.lease, self.name = lease, name
        self.base = name.partition("@")[0]
        self.directory = Even()
        model = lease.model
        if generates(model):
            self.writer: LeasedDriver | None = LeasedDriver(model, lease)
            self.served = Served(name, "", model, self.writer, self.writer)
        else:
            batcher = Batcher(model.predict, streams=model.engine["streams"], batch_max=model.engine["batch"])
            self.writer, self.served = None, Served(name, "", model, batcher)
        self.pending: dict[Receiver, tuple[Ticket, float]] = {}
        self.outbox: Outbox
        self._sweeper: asyncio.Task[None]

    async def open(self) -> None:
        """Begin, on the running event loop."""
        self.outbox = Outbox(asyncio.get_running_loop())
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Finish what has begun, write the last counts, and end."""
        self._sweeper.cancel()
        await asyncio.to_thread(self.served.batcher.close)
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
        return self.served.batcher.waiting

    async def find(self, _who: Any, model: str, _request: str = "") -> Served:
        """The leased model under its name; nothing else is here."""
        self.lease.check()
        if model not in (self.name, self.base):
            raise MofangError("model-unknown", model=model, nearest=self.name)
        return self.served

    async def begin(self, _who: Any, _asked: Asked) -> Taken:
        """Take a request in."""
        return Taken(self.lease, self.writer is not None)

    async def outcome(self, future: asyncio.Future[Any], ticket: Ticket, deadline_s: float) -> Any:
        """What comes of a ticket, at the latest at its deadline."""
        self.pending[future] = (ticket, deadline_s)
        try:
            return await future
        finally:
            del self.pending[future]

    async def answer(self, call: Exchange) -> Reply:
        """Answer one request and count it: the licence first, and again when the answer is there."""
        served = await self.find(None, call.params["model"])
        body = await call.body()
        deadline_s = time.monotonic() + min(DEADLINE_S, deadline_ms(call) / 1000 or DEADLINE_S)
        served.batcher.check("", deadline_s)
        read = reader(call.headers.get(b"content-type", b""))
        records, many = read(served.model, body) if read else served.model.parse(decode_body(body))
        units = served.model.units(records)
        future: asyncio.Future[Any] = self.outbox.loop.create_future()
        ticket = served.batcher.submit(records, partial(self.outbox.put, future), deadline_s=deadline_s, gone=call.gone)
        found: Answers | MofangError = await self.outcome(future, ticket, deadline_s)
        if isinstance(found, MofangError):
            raise found
        told: dict[str, Any] = {"request_id": call.request_id, "model": self.name, "units": units}
        if self.writer is not None:
            written = sum(one["tokens"] for one in found)
            told |= {"units": units + written, "tokens": {"read": units, "written": written}}
            found = same_answers(found)
        data = orjson.dumps({**told, **answers_of(found, many)}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Reply(200, (await Taken(self.lease, self.writer is not None).settle(units, data)).body, model=self.name)

    async def _sweep(self) -> None:
        """Answer what is overdue."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for ticket, deadline_s in list(self.pending.values()):
                if now > deadline_s:
                    ticket.finish(MofangError("too-late"))


class LeasedApp(PredictApp):
    """The application of the runner: in the grace every answer says when the lease ends, streams too."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        desk: Any = self.desk
        notice = desk.lease.notice
        await super().__call__(scope, receive, noticed(send, notice.encode()) if notice else send)


def noticed(send: Send, notice: bytes) -> Send:
    """The same with a header more."""

    async def told(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and all(name != NOTICE for name, _ in message["headers"]):
            message = {**message, "headers": [*message["headers"], (NOTICE, notice)]}
        await send(message)

    return told


def lent(handler: Handler) -> Handler:
    """A handler of the server under the licence, which is looked at before anything is read."""

    async def answer(call: Exchange) -> Reply | None:
        desk: Any = call.desk
        desk.lease.check()
        call.who = Lessee()
        reply = await handler(call)
        if reply is not None and desk.lease.notice:
            reply.headers = (*reply.headers, (NOTICE, desk.lease.notice.encode()))
        return reply

    return answer


async def predict(call: Exchange) -> Reply | None:
    """Answer one record or many."""
    desk: Any = call.desk
    reply: Reply = await desk.answer(call)
    return reply


async def state(call: Exchange) -> Reply:
    """How the lease stands."""
    desk: Any = call.desk
    return Reply(200, orjson.dumps(desk.lease.state()))


async def models(call: Exchange) -> Reply:
    """The leased model, as clients of the OpenAI protocols list models."""
    desk: Any = call.desk
    return Reply(200, orjson.dumps({"object": "list", "data": [about(name) for name in (desk.base, desk.name)]}))


async def model(call: Exchange) -> Reply:
    """One of its names."""
    desk: Any = call.desk
    name = call.params["model"]
    if name not in (desk.base, desk.name):
        raise MofangError("model-unknown", model=name, nearest=desk.name)
    return Reply(200, orjson.dumps(about(name)))


def about(name: str) -> dict[str, Any]:
    """A model in a list."""
    return {"id": name, "object": "model", "created": openai.CREATED, "owned_by": "mofang"}


async def health(call: Exchange) -> Reply:
    """Whether answers are given."""
    well, told = call.desk.health()
    return Reply(200 if well else 503, orjson.dumps(told))


ROUTES = (
    Route("POST", "/v1/predict/{model}", "open", lent(predict), "Answer one record or many, under the lease.",
          "按租约回答一条或多条记录。", BODY | answered(ANSWER)),
    *(replace(route, scope="open", handler=lent(route.handler)) for route in openai.ROUTES if route.path in OPENAI),
    Route("GET", "/v1/models", "open", models, "The leased model (OpenAI protocol)", "租来的模型（OpenAI 协议）", refuse=refuse),
    Route("GET", "/v1/models/{model}", "open", model, "One of its names (OpenAI protocol)", "其名称之一（OpenAI 协议）",
          refuse=refuse),
    Route("GET", "/v1/lease", "open", state, "Until when the lease holds, and what was used.", "租约的期限与已用量。"),
    Route("GET", "/health", "open", health, "200 while answers are given; 503 otherwise.", "可以应答时返回 200，否则 503。"),
)


def run_leased(lease: Lease, name: str, host: str, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; the last counts are written before it ends."""
    bound = listen(host, port)
    address = shown_address(bound, host)
    app = LeasedApp(LeaseDesk(lease, name), routes=ROUTES)  # type: ignore[arg-type]

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(address)

    try:
        Server(uvicorn.Config(app, **server_settings())).run(sockets=[bound])
    finally:
        bound.close()
