"""An answer on its way whose price is known only at its end: the most is reserved, what was produced is charged.

The usage row is committed before the last byte leaves. What breaks off is charged for what was delivered, and no more; where the
process itself is killed nothing is charged.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.trade.elsewhere.passed import passed
from mofang.trade.pricing.prices import Price
from mofang.trade.request.commit import Charge, most_for
from mofang.trade.request.pace import Entered
from mofang.trade.request.replay import Stored, check_retry_key, request_digest, same_request

if TYPE_CHECKING:
    from mofang.trade.request.desk import Desk, Who


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reserved for: a model under its name and its package (or remote), at most so many ``units``, for this
    ``body``; ``retry_key`` None where the caller sent none."""

    request_id: str
    name: str
    package: str
    units: int
    body: bytes
    retry_key: str | None = None

    @property
    def base(self) -> str:
        """The name without its version, by which prices go."""
        return self.name.partition("@")[0]


class Opened:
    """A reservation. Exactly one of ``settle`` and ``abandon`` ends it; what comes after the first does nothing."""

    __slots__ = ("_desk", "_entered", "_who", "asked", "digest", "over", "price", "repeat", "reserved")

    def __init__(self, desk: Desk, who: Who, asked: Asked, price: Price | None, digest: str, repeat: bool,
                 entered: Entered = ()) -> None:
        self._desk, self._who, self.asked, self.price, self._entered = desk, who, asked, price, entered
        self.digest, self.repeat = digest, repeat
        self.reserved = most_for(asked.units, price)
        self.over = False

    async def settle(self, units: int, answer: bytes, *, tokens: tuple[int, int] | None = None, keep: bool = True,
                     alone: bool = False, records: list[dict[str, Any]] | None = None,
                     answers: list[dict[str, Any]] | None = None) -> Stored:
        """Charge what was produced, durably; the answer that may now be sent (an earlier one, where another process was quicker).

        ``units`` may not be more than was reserved. ``keep`` False stores nothing for retries;
        ``alone`` tells that nobody else is being answered now: then it is committed here, without another thread's turn.
        ``records`` and their ``answers`` are marked, and kept where the customer's plan says so. Raises ``credit-used-up`` and
        the meter's refusals.
        """
        assert not self.over and units <= self.asked.units, "charged twice, or for more than was reserved"
        asked, desk, who = self.asked, self._desk, self._who
        future = desk.outbox.loop.create_future()
        charge = Charge(asked.request_id, who.customer.id, who.key.id, asked.name, asked.package, units, self.price, who.key.test,
                        self.reserved, answer, partial(desk.outbox.put, future), (asked.retry_key or "") if keep else "",
                        self.digest, self.repeat, tokens, budgets=who.budgets)
        if desk.marks is not None and records is None and keep:  # an engine elsewhere answered
            records, answers = passed(asked.body, answer)
        if desk.marks is not None and records is not None:
            desk.marks.put(charge, who.customer, records, answers or [])
        try:
            if not (alone and desk.meter.quick and desk.meter.settle_alone(charge)):
                desk.meter.submit(charge)
        except MofangError:
            self.abandon()
            raise
        self.over = True  # the commit ends the reservation
        try:
            outcome: Any = await desk.outcome(future, None, time.monotonic() + desk.deadline_s)
        finally:
            self._forget()
        if isinstance(outcome, MofangError):
            raise outcome
        assert isinstance(outcome, Stored)
        return outcome

    def abandon(self) -> None:
        """Charge nothing."""
        if not self.over:
            self.over = True
            self._desk.meter.release(self._who.customer.id, self.reserved, self._who.budgets)
            self._forget()

    def _forget(self) -> None:
        self._desk.leave(self._entered)
        if self.asked.retry_key is not None:
            self._desk.running.discard((self._who.customer.id, self.asked.retry_key))


async def begin(desk: Desk, who: Who, asked: Asked) -> Opened | Stored:
    """``Desk.begin``."""
    entered = desk.enter(who)
    opened: Opened | Stored | None = None
    try:
        opened = await _begin(desk, who, asked, entered)
        return opened
    finally:
        if not isinstance(opened, Opened):
            desk.leave(entered)


async def _begin(desk: Desk, who: Who, asked: Asked, entered: Entered) -> Opened | Stored:
    price = desk.directory.price(asked.base, who.key, who.customer)
    name = (who.customer.id, check_retry_key(asked.retry_key)) if asked.retry_key is not None else None
    if name in desk.running:
        raise MofangError("retry-in-progress")
    digest = request_digest(asked.base, asked.body) if name else ""  # whichever release answers
    repeat = name is None and desk.repeats.seen(who.key.id, asked.name, asked.body)
    opened = Opened(desk, who, asked, price, digest, repeat, entered)
    if name is None:
        await desk.reserve(who, opened.reserved)
        return opened
    desk.running.add(name)
    kept = False
    try:
        found = await desk.stored(*name)
        if isinstance(found, Stored):
            return same_request(found, digest)
        await desk.reserve(who, opened.reserved)
        kept = True
    finally:
        if not kept:
            desk.running.discard(name)
    return opened
