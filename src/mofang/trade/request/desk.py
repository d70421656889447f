"""The desk where answers are sold: key, quota, prediction, charge, in this order and in no other.

A request passes through three threads: the event loop parses it and reserves its price, an engine thread answers it
with others of its batch, and the meter's thread commits it with all that wait. Only then is it handed back. Whatever
happens on the way, the reservation ends in exactly one place, and nobody gets an answer that was not charged.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.nearest import nearest
from mofang.engine.arrays import arrays_digest
from mofang.engine.request import decode_body
from mofang.serve.batching import NORMAL, Batcher, Done, Ticket
from mofang.serve.models import Models
from mofang.serve.rollout import Rollout
from mofang.serve.routing import Router
from mofang.trade.accounts.customers import Customer
from mofang.trade.accounts.keys import Key
from mofang.trade.accounts.limits import Limit
from mofang.trade.accounts.own import Own, check_may
from mofang.trade.customs.served import OwnModels
from mofang.trade.elsewhere.gateway import Gateway
from mofang.trade.looked import Marks
from mofang.trade.pricing.prices import Price
from mofang.trade.request.commit import Charge, Draw, Find, Work, most_for
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Model, Record, Served
from mofang.trade.request.once import sell_once
from mofang.trade.request.opened import Asked, Opened, begin
from mofang.trade.request.pace import Entered, Pace
from mofang.trade.request.purses import Budgets
from mofang.trade.request.repeats import Repeats
from mofang.trade.request.replay import Stored, replay_name, stored_answers
from mofang.trade.request.returning import Outbox, Receiver
from mofang.trade.request.writing import predict_text

DEADLINE_S = 30.0  # for the prediction
GRACE_S = 5.0  # beyond it for the commit
SWEEP_S = 0.25
TICK_S = 5.0

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class Who:
    """Who asks: a key that was good, and the customer it belongs to."""

    key: Key
    customer: Customer
    limits: tuple[Limit, ...] = ()
    budgets: Budgets = ()


@dataclass(slots=True)
class Call:
    """One prediction asked for. ``gone`` tells whether the caller has hung up meanwhile.

    Another protocol than plain JSON brings how its body is read and its answer written. ``deadline_ms`` is the caller's
    own, where it is shorter than the server's; 0: none.
    """

    request_id: str
    model: str
    body: bytes
    retry_key: str | None
    arrays: bool
    gone: Callable[[], bool]
    read: Callable[[Model, bytes], tuple[list[Record], bool]] | None = None
    write: Callable[[dict[str, Any], Model], bytes] | None = None
    deadline_ms: float = 0


@dataclass(slots=True)
class Reply:
    """What is sent back."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    model: str = ""  # the release that answered


@dataclass(slots=True)
class Quote:
    """What was agreed before the work began."""

    who: Who
    served: Served
    price: Price | None
    units: int
    reserved: int
    digest: str
    repeat: bool


class Desk:
    """Sells predictions of the served models. One per server process; its coroutines run on one event loop."""

    def __init__(self, directory: Directory, meter: Meter, served: Sequence[Served] | Models, reader: Database, *,
                 deadline_s: float = DEADLINE_S, router: Router | None = None, marks: Marks | None = None,
                 pace: Pace | None = None) -> None:
        self.router = router or Router()
        self.rollout: Rollout | None = None  # whoever makes the desk joins it to the journal of releases
        self.marks = marks
        self.directory = directory
        self.meter = meter
        self.reader = reader
        self.finder = reader.again() if reader.dialect == "sqlite" else None  # a look-up is quicker than a change of thread
        self.deadline_s = deadline_s
        self.served = served if isinstance(served, Models) else Models(served)
        self.gateway: Gateway | None = None  # to engines elsewhere
        self.pace = pace or Pace()
        self.own: OwnModels | None = None  # models of customers' own
        self.accounts = Own(reader, meter.utc_offset)
        self.closing = False
        self.running: set[tuple[str, str]] = set()  # retry keys being answered now
        self.repeats = Repeats()
        self.pending: dict[Receiver, tuple[Ticket | None, float]] = {}
        self.outbox: Outbox
        self._sweeper: asyncio.Task[None]

    async def open(self) -> None:
        """Start the threads; called on the event loop that serves."""
        self.outbox = Outbox(asyncio.get_running_loop())
        self.directory.start()
        self.meter.start()
        if self.rollout is not None:
            self.rollout.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Finish queued work, return allotments, end the threads."""
        self._sweeper.cancel()
        if self.gateway is not None:
            self.gateway.close()
        self.closing = True
        for models in (self.served, *([self.own.models] if self.own else [])):
            await asyncio.to_thread(models.close)
        if self.rollout is not None:
            await asyncio.to_thread(self.rollout.close)
        await asyncio.to_thread(self.meter.close)
        await asyncio.to_thread(self.directory.close)
        self.pace.close()
        if self.finder is not None:
            self.finder.close()
        self.reader.close()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether answers can be given; tells no more than names of models."""
        well = self.meter.state == "running"
        return well, {"status": "ok" if well else self.meter.state, "models": self.served.names()}

    def waiting(self) -> int:
        """Records that wait for an engine."""
        return sum(one.batcher.waiting for one in self.served.values())

    def admit(self, token: str) -> Who:
        """Who this key belongs to."""
        key, customer = self.directory.admit(token)
        picture = self.directory.picture
        return Who(key, customer, *picture.limits_of(key)) if picture.limits else Who(key, customer)

    def resume(self, session: str) -> Who:
        """Who a browser's session belongs to."""
        return Who(*self.directory.resume(session))

    def enter(self, who: Who) -> Entered:
        """Begin a request under the caller's rates and counts; ``leave`` ends it. Raises what ``Pace.enter`` raises."""
        return self.pace.enter(who.limits) if who.limits else ()

    def leave(self, entered: Entered) -> None:
        """A request is over."""
        if entered:
            self.pace.leave(entered)

    async def find(self, who: Who, model: str, request: str = "") -> Served:
        """The model that answers to a name for this caller and request, opened where it is not; refused as ``predict`` does."""
        own: Served | None = await self.own.find(who.customer.id, model) if self.own is not None else None
        if own is not None:
            check_scope(who.key, own.name)
            return own
        name = self.router.choose(model, who.customer.id, request or new_id("req"))
        found: Served = self.served.get(name) or await self._wake(name, who.key)
        check_scope(who.key, found.name)
        return found

    async def predict(self, who: Who, call: Call) -> Reply:
        """Answer one request and charge it once; a repeated one gets the first answer again."""
        served = await self.find(who, call.model, call.retry_key or call.request_id)
        if served.writer is not None:
            return await predict_text(self, who, served, call)
        entered = self.enter(who)
        try:
            if call.retry_key is None:
                return await self.sell(who, served, call, "")
            return await sell_once(self, who, served, call, call.retry_key)
        finally:
            self.leave(entered)

    async def _wake(self, model: str, key: Key) -> Served:
        """Open a model that is on offer, or refuse its name."""
        if model in self.served:
            check_scope(key, self.served.release(model))
        found: Served | None = await asyncio.to_thread(self.served.wake, model) if model in self.served else None
        if found is None:
            raise MofangError("model-unknown", model=model, nearest=nearest(model, list(self.served)))
        return found

    async def sell(self, who: Who, served: Served, call: Call, digest: str) -> Reply:
        """Answer and charge; ``digest`` is what a repeated request must have to get the same answer, empty without a key."""
        deadline_s = time.monotonic() + min(self.deadline_s, call.deadline_ms / 1000 or self.deadline_s)
        served.batcher.check(who.customer.id, deadline_s)  # a full queue refuses before a body is parsed
        price = self.directory.price(served.base, who.key, who.customer)
        records, many = call.read(served.model, call.body) if call.read else served.model.parse(decode_body(call.body))
        told: dict[str, Any] = {}
        if call.arrays:
            told["arrays_sha256"] = arrays_digest(await asyncio.to_thread(served.model.encode, records))
        units = served.model.units(records)
        repeat = call.retry_key is None and self.repeats.seen(who.key.id, served.name, call.body)
        quote = Quote(who, served, price, units, most_for(units, price), digest, repeat)
        await self.reserve(who, quote.reserved)
        future: asyncio.Future[Any] = self.outbox.loop.create_future()
        answered: Done = partial(self._answered, call, quote, many, told, future, records)
        if self.rollout is not None:
            answered = self.rollout.around(served.name, records, answered)
        try:
            ticket = await self._submit(served, records, answered, call, who, deadline_s)
        except MofangError:
            self.meter.release(who.customer.id, quote.reserved, who.budgets)
            raise
        return reply_of(await self.outcome(future, ticket, deadline_s), served.name)

    async def _submit(self, served: Served, records: list[Record], answered: Done, call: Call, who: Who,
                      deadline_s: float) -> Ticket:
        """Queue the records; where the model has just been put away for another, it is opened again."""
        priority = self.directory.picture.priorities.get(who.customer.id, NORMAL)
        while True:
            assert isinstance(served.batcher, Batcher), "whoever writes answers by himself is asked by predict_text"
            try:
                return served.batcher.submit(records, answered, deadline_s=deadline_s, gone=call.gone,
                                             account=who.customer.id, priority=priority, soon=self.outbox.loop.call_soon)
            except MofangError as refusal:
                if refusal.code != "closing" or self.closing or served.name not in self.served:
                    raise
            served = await self._wake(served.name, who.key)

    def _answered(self, call: Call, quote: Quote, many: bool, told: dict[str, Any], future: Receiver,
                  records: list[Record], outcome: list[dict[str, Any]] | MofangError) -> None:
        """On the engine's thread: an answer goes on to the meter, a refusal back to the caller."""
        refusal = outcome
        if not isinstance(outcome, MofangError):
            try:
                charge = self._charge(call, quote, {**told, **answers_of(outcome, many)}, future)
                if self.marks is not None:
                    self.marks.put(charge, quote.who.customer, records, outcome)
                feed = quote.served.batcher
                lonely = isinstance(feed, Batcher) and feed.newest == 1 and not feed.waiting
                if not (lonely and (self.meter.quick or not self.outbox.here) and self.meter.settle_alone(charge)):
                    self.meter.submit(charge)
                return
            except MofangError as error:
                refusal = error
        self.meter.release(quote.who.customer.id, quote.reserved, quote.who.budgets)
        self.outbox.put(future, refusal)

    def _charge(self, call: Call, quote: Quote, told: dict[str, Any], future: Receiver) -> Charge:
        who, served, price = quote.who, quote.served, quote.price
        answer = {"request_id": call.request_id, "model": served.name, "units": quote.units,
                  "price": price.exact(quote.units) if price else "0", "currency": who.customer.currency,
                  "test": who.key.test, **told}
        try:
            body = call.write(answer, served.model) if call.write else orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise MofangError("engine-failed", detail=f"its answer is no JSON: {error}") from error
        return Charge(call.request_id, who.customer.id, who.key.id, served.name, served.package, quote.units, price,
                      who.key.test, quote.reserved, body, partial(self.outbox.put, future), call.retry_key or "",
                      quote.digest, quote.repeat, budgets=who.budgets)

    async def begin(self, who: Who, asked: Asked) -> Opened | Stored:
        """Reserve the most that an answer can come to, before its first byte; or the answer that a retry key has already.

        Whoever opens it must settle or abandon it. Raises what ``predict`` raises before the work begins.
        """
        return await begin(self, who, asked)

    async def reserve(self, who: Who, micros: int) -> None:
        """Reserve in memory, or wait for the database where this process has not set enough aside."""
        account, budgets = who.customer.id, who.budgets
        if self.meter.reserve(account, micros, budgets):
            return
        refusal = await self.ask(partial(Draw, account, micros, budgets=budgets),
                                 lambda: self.meter.release(account, micros, budgets))
        if refusal is not None:
            raise refusal

    async def stored(self, account: str, retry_key: str) -> Stored | None:
        """The answer that an earlier request with this key has got already."""
        if self.finder is not None:
            name = replay_name(account, retry_key)
            with suppress(sqlite3.Error):  # then the meter's thread looks, and says what is wrong
                return stored_answers(self.finder, (name,), now_us()).get(name)
        outcome = await self.ask(partial(Find, account, retry_key))
        return outcome if isinstance(outcome, Stored) else None

    async def ask(self, work: Callable[[Callable[[Any], None]], Work], late: Callable[[], None] | None = None) -> Any:
        """Have the meter's thread do something and wait for it. ``late`` undoes what came too late to be used."""
        future: asyncio.Future[Any] = self.outbox.loop.create_future()

        def done(outcome: Any) -> None:
            self.outbox.put(future, outcome, None if isinstance(outcome, MofangError) else late)

        self.meter.submit(work(done))
        outcome = await self.outcome(future, None, time.monotonic() + self.deadline_s)
        if isinstance(outcome, MofangError):
            raise outcome
        return outcome

    async def outcome(self, future: asyncio.Future[Any], ticket: Ticket | None, deadline_s: float) -> Any:
        self.pending[future] = (ticket, deadline_s)
        try:
            return await future
        finally:
            del self.pending[future]

    async def _sweep(self) -> None:
        """Answer what is overdue: a prediction at its deadline, a commit some seconds after."""
        ticked_s = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for future, (ticket, deadline_s) in list(self.pending.items()):
                if now > deadline_s and ticket is not None:
                    ticket.finish(MofangError("too-late"))  # does nothing where the answer is being charged
                if now > deadline_s + GRACE_S and not future.done():
                    future.set_result(MofangError("outcome-unknown"))
            if now > ticked_s + TICK_S:
                ticked_s = now
                self.meter.tick()


def check_scope(key: Key, name: str) -> None:
    """Refuse a key that is limited to other models than this release, or to other things than asking models."""
    check_may(key, "predict")
    base = name.partition("@")[0]
    if key.models and base not in key.models and name not in key.models:
        raise MofangError("key-scope", key=key.id, model=base, models=", ".join(key.models))


def answers_of(answers: list[dict[str, Any]], many: bool) -> dict[str, Any]:
    """One record is answered with ``answer``, a list of records with ``answers``."""
    return {"answers": answers} if many else {"answer": answers[0]}


def reply_of(outcome: Stored | MofangError, model: str = "") -> Reply:
    """A charged or replayed answer as a reply; a refusal is raised."""
    if isinstance(outcome, MofangError):
        raise outcome
    return Reply(outcome.status, outcome.body, ((b"idempotent-replayed", b"true"),) if outcome.replayed else (), model)
