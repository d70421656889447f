"""The straight way to an answer: a plain request that has to wait for nothing before its model runs.

Whatever the desk does for such a request is done here in the same order, in one call and without a coroutine: key, route,
price, reservation, queue. What would have to wait (a model to be opened, money to be drawn, a repeated request to be looked
up) is left to ``Desk.predict``, and so is every refusal, which that words as always.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from mofang.engine.request import decode_body
from mofang.serve.batching import NORMAL, Batcher
from mofang.trade.request.commit import most_for
from mofang.trade.request.desk import Quote, check_scope
from mofang.trade.request.returning import Receiver

if TYPE_CHECKING:
    from mofang.trade.request.desk import Call, Desk, Who
    from mofang.trade.request.model import Served


class Waiting(Receiver, Protocol):
    """Who waits for the outcome; it must take itself out of ``desk.pending`` when it is told."""

    model: str


def ready(desk: Desk, model: str) -> Served | None:
    """The release that a name leads to for everybody, if it is open and answers by batches."""
    found: Served | None = desk.served.get(desk.router.choose(model, "", ""))
    return found if found is not None and found.writer is None else None


def sell(desk: Desk, who: Who, call: Call, waiting: Waiting) -> bool:
    """Queue one request; False where something must be waited for first, and nothing was done.

    Raises MofangError as ``Desk.predict`` would; nothing was done then either. Runs on the desk's event loop.
    """
    if who.limits or who.budgets or _has_own(desk, who, call.model):  # whose requests are counted, or answered by an own model
        return False
    served: Served | None = desk.served.get(desk.router.choose(call.model, who.customer.id, call.request_id))
    if served is None or served.writer is not None:
        return False
    check_scope(who.key, served.name)
    assert isinstance(served.batcher, Batcher)
    deadline_s = time.monotonic() + desk.deadline_s
    served.batcher.check(who.customer.id, deadline_s)
    price = desk.directory.price(served.base, who.key, who.customer)
    records, many = served.model.parse(decode_body(call.body))
    units = served.model.units(records)
    reserved = most_for(units, price)
    if not desk.meter.reserve(who.customer.id, reserved):
        return False
    repeat = desk.repeats.seen(who.key.id, served.name, call.body)
    waiting.model = served.name
    quote = Quote(who, served, price, units, reserved, "", repeat)
    ticket = None
    try:
        ticket = served.batcher.submit(
            records, desk.answering(call, quote, many, {}, waiting, records), deadline_s=deadline_s, gone=call.gone,
            account=who.customer.id, priority=desk.directory.picture.priorities.get(who.customer.id, NORMAL),
            soon=desk.outbox.loop.call_soon)
    finally:
        if ticket is None:
            desk.meter.release(who.customer.id, reserved)
    desk.pending[waiting] = (ticket, deadline_s)
    return True


def _has_own(desk: Desk, who: Who, model: str) -> bool:
    return desk.own is not None and bool(desk.own.release(who.customer.id, model))


def refused_early(desk: Desk, served: Served, who: Who, model: str) -> str:
    """The code with which a request more of this caller is refused now; empty where it may come."""
    if _has_own(desk, who, model):
        return ""
    check_scope(who.key, served.name)
    assert isinstance(served.batcher, Batcher)
    code, _ = served.batcher.refusal(1, who.customer.id, time.monotonic() + desk.deadline_s)
    return code

