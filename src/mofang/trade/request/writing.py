"""Answers of a generator at the desk: what was asked goes to the decode driver, its pieces come back on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.errors import MofangError
from mofang.engine.generation.rows import Piece
from mofang.engine.generation.sampling import Sampling
from mofang.engine.request import decode_body
from mofang.serve.batching import Done
from mofang.serve.generation import Job, same_answers
from mofang.serve.rollout import Deliver
from mofang.trade.request.opened import Asked, Opened
from mofang.trade.request.replay import Stored

if TYPE_CHECKING:
    from mofang.trade.request.desk import Call, Desk, Reply, Who
    from mofang.trade.request.model import Served


class Pieces:
    """What the driver's thread hands over, waiting for the one coroutine that reads it."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[Piece | MofangError] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def done(self) -> bool:
        """Never: pieces may come as long as somebody writes."""
        return False

    def set_result(self, piece: Piece | MofangError) -> None:
        """One more piece; on the event loop."""
        self._items.append(piece)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> list[Piece | MofangError]:
        """Everything that is there, at least one piece."""
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        found = list(self._items)
        self._items.clear()
        return found


@dataclass(slots=True)
class Writing:
    """An answer that is being written: its reservation, its job, its pieces, and what a unit of output counts as."""

    opened: Opened
    job: Job
    pieces: Pieces
    prompt: int
    output: int
    record: dict[str, Any]

    def units(self, written: int) -> int:
        """What the prompt and so many written tokens come to."""
        return self.prompt + self.output * written


async def begin_writing(desk: Desk, who: Who, served: Served, call: Call, record: dict[str, Any],
                        sampling: Sampling) -> Writing | Stored:
    """Reserve for the record of a prompt and the longest answer, and put it in the driver's line; or an earlier request's answer.

    Raises ``prompt-too-long``, ``busy``, ``credit-used-up`` … before anything was written.
    """
    assert served.writer is not None
    prompt = served.writer.generator.prompt(record)
    served.writer.rows.row(prompt, sampling)  # refuses what cannot be answered before money is set aside
    output = desk.directory.output(served.base)
    most = len(prompt) + output * min(sampling.max_tokens, served.writer.generator.context - len(prompt))
    opened = await desk.begin(who, Asked(call.request_id, served.name, served.package, most, call.body, call.retry_key))
    if isinstance(opened, Stored):
        return opened
    pieces = Pieces()
    deliver: Deliver = partial(desk.outbox.put, pieces)
    if desk.rollout is not None:
        deliver = desk.rollout.writing(served.name, record, sampling, deliver)
    try:
        job = served.writer.ask(prompt, sampling, deliver, begin_s=time.monotonic() + desk.deadline_s,
                                gone=call.gone)
    except MofangError:
        opened.abandon()
        raise
    return Writing(opened, job, pieces, len(prompt), output, record)


async def predict_text(desk: Desk, who: Who, served: Served, call: Call) -> Reply:
    """``/v1/predict`` of a generator: greedy answers, charged by tokens read and written."""
    from mofang.trade.request.desk import answers_of, reply_of

    assert served.writer is not None
    records, many = served.model.parse(decode_body(call.body))
    output = desk.directory.output(served.base)
    read = served.model.units(records)
    asked = Asked(call.request_id, served.name, served.package, read + output * Sampling().max_tokens * len(records), call.body,
                  call.retry_key)
    opened = await desk.begin(who, asked)
    if isinstance(opened, Stored):
        return reply_of(opened, served.name)
    try:
        future: asyncio.Future[Any] = desk.outbox.loop.create_future()
        deadline_s = time.monotonic() + desk.deadline_s
        answered: Done = partial(desk.outbox.put, future)
        if desk.rollout is not None:
            answered = desk.rollout.around(served.name, records, answered)
        ticket = served.writer.submit(records, answered, deadline_s=deadline_s, gone=call.gone)
        found = await desk.outcome(future, ticket, deadline_s)
        if isinstance(found, MofangError):
            raise found
        written = sum(one["tokens"] for one in found)
        units = read + output * written
        body = orjson.dumps({
            "request_id": call.request_id, "model": served.name, "units": units,
            "price": opened.price.exact(units) if opened.price else "0", "currency": who.customer.currency, "test": who.key.test,
            "tokens": {"read": read, "written": written}, **answers_of(same_answers(found), many)})
        told = await opened.settle(units, body, tokens=(read, written), records=records, answers=same_answers(found))
        return reply_of(told, served.name)
    finally:
        opened.abandon()
