"""The keeper: runs the jobs of a shop when they are due, each on a thread and connections of its own.

Of all keepers of a shop, over processes and machines, one has the turn (``turns``). Times between runs are counted by a clock
that only goes forward, so that setting the machine's clock back or forth starts no storm. A job that fails is tried again,
later and later; one that hangs beyond its time ends this process, and whoever started it starts another, in which that job
waits while the others go on. Nothing here is on the way of a request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.serve.boundary import attempt
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.keeping.jobs import JOBS, Done, Job, pause_s, wait_s
from mofang.trade.keeping.past import Past, begin, end, make_table, past
from mofang.trade.keeping.turns import PATIENCE_S, Turn
from mofang.trade.telling.sending import waiting_at

TICK_S = 1.0
LOOK_S = 60.0  # between two looks at the machine's clock
SHOW_S = 15.0
RETRY_S = 2.0  # after the database could not be asked
ENDS_S = 5.0  # what is under way when the keeper ends has so long
HANGS = 75  # the exit status of a keeper in which a job hangs
POKED = "outbox"

log = logging.getLogger("mofang.keeper")


@dataclass(eq=False)
class Slot:
    """A job in this process: when it is due, and the run under way."""

    job: Job
    due_s: float = 0.0
    began_s: float = 0.0
    fails: int = 0
    thread: threading.Thread | None = None
    said: str | None = None  # what the run under way ended with; empty where all was well
    done: Done = Done()  # noqa: RUF009 - frozen


def nothing(_shop: Shop) -> None:
    """Where nobody wants to be shown anything."""


class Keeper:
    """Runs jobs of one shop until told to end. ``show`` is called now and then, on the keeper's own thread."""

    def __init__(self, shop: Shop, jobs: Sequence[Job] = JOBS, *, tick_s: float = TICK_S, patience_s: float = PATIENCE_S,
                 show: Callable[[Shop], None] = nothing) -> None:
        self.shop, self.tick_s, self.show = shop, tick_s, show
        open_books(shop)
        make_table(shop.control)
        self.turn = Turn(shop.ledger.db.again(), patience_s)
        self.slots = [Slot(job) for job in jobs]
        self.hung: Job | None = None
        self._had = False
        self._place, self._looked_s, self._shown_s = 0, 0.0, 0.0
        self._complained = ""

    def run(self, ended: threading.Event) -> int:
        """Keep the shop until ``ended``; 0, or ``HANGS`` where a job does."""
        while not ended.is_set() and self.hung is None:
            fault = attempt(self.step)
            self._complain(fault)
            if fault is not None and not ended.wait(RETRY_S):
                self._complain(attempt(self._reopen))
            ended.wait(self.tick_s)
        return self.close()

    def once(self) -> dict[str, Done] | None:
        """Run what is due now and wait for it: the outcomes by name, or None where another keeper has the turn."""
        if not self.turn.take():
            return None
        self._resume()
        due = [slot for slot in self.slots if slot.due_s <= time.monotonic()]
        for slot in due:
            self._begin(slot)
        for slot in due:
            assert slot.thread is not None
            slot.thread.join(slot.job.most_s)
            if slot.thread.is_alive():
                self._hangs(slot)
        self.close()
        return {slot.job.name: slot.done for slot in due if slot.said == ""}

    def step(self) -> None:
        """What is to be done at this moment: called every second."""
        if time.monotonic() > self._shown_s + SHOW_S:
            self._shown_s = time.monotonic()
            self._complain(attempt(partial(self.show, self.shop)))
        for slot in self.slots:
            self._collect(slot)
        if not self.turn.take():
            self._had = False
            return
        if not self._had:
            self._resume()
        self._look()
        for slot in self.slots:
            if slot.thread is None and slot.due_s <= time.monotonic():
                self._begin(slot)

    def close(self) -> int:
        """Let what is under way end, for a moment, and give the turn back."""
        until_s = time.monotonic() + ENDS_S
        for slot in self.slots:
            if slot.thread is not None and self.hung is None:
                slot.thread.join(max(0.0, until_s - time.monotonic()))
                self._collect(slot)
        attempt(self.turn.let_go)
        self.turn.db.close()
        return HANGS if self.hung else 0

    def _reopen(self) -> None:
        """New connections, since nobody knows what has become of the old ones: a database may have started anew."""
        old, held = self.shop, self.turn.db
        self.shop = old.again()
        self.turn.db = self.shop.ledger.db.again()
        for one in (held, old.control, old.ledger.db):
            attempt(one.close)

    def _resume(self) -> None:
        """The turn has come: what was due and what failed stands in the table."""
        self._had = True
        self._place, self._looked_s = waiting_at(self.shop.control, 0)[1], time.monotonic()
        known, offset = past(self.shop.control), shop_offset(self.shop)
        for slot in self.slots:
            before = known.get(slot.job.name, Past(slot.job.name))
            slot.fails = before.fails
            slot.due_s = time.monotonic() + wait_s(slot.job, before, now_us(), offset)

    def _look(self) -> None:
        """Whether there is something to tell already, and whether the night has come earlier than was thought."""
        waits, newest = waiting_at(self.shop.control, self._place)
        told = next((slot for slot in self.slots if slot.job.name == POKED), None)
        if not waits or told is None or told.fails:
            self._place = newest
        elif told.thread is None:  # else it is looked at again when the run under way has ended
            self._place, told.due_s = newest, 0.0
        if time.monotonic() < self._looked_s + LOOK_S:
            return
        self._looked_s = time.monotonic()
        known = past(self.shop.control)
        for slot in self.slots:
            if not slot.job.every_s and slot.thread is None:  # never later: a clock that is set back postpones nothing for ever
                rest_s = wait_s(slot.job, known.get(slot.job.name, Past(slot.job.name)), now_us(), shop_offset(self.shop))
                slot.due_s = min(slot.due_s, time.monotonic() + rest_s)

    def _begin(self, slot: Slot) -> None:
        slot.began_s, slot.said, slot.done = time.monotonic(), None, Done()
        slot.thread = threading.Thread(target=self._perform, args=(slot,), name=slot.job.name, daemon=True)
        slot.thread.start()

    def _perform(self, slot: Slot) -> None:
        """One run, on a thread of its own."""
        fault = attempt(partial(self._whole, slot))
        slot.said = _code(fault) if fault is not None else slot.said or ""
        self._complain(fault)

    def _whole(self, slot: Slot) -> None:
        """One run with its traces; what is told over the outbox while it runs is looked for again afterwards."""
        own, name = self.shop.again(), slot.job.name
        try:
            begin(own.control, name, now_us())
            fault = attempt(partial(_keep, slot, own))
            end(own.control, name, now_us(), _code(fault) if fault is not None else "", slot.done.done, slot.done.found)
            if fault is not None:
                raise fault
        finally:
            own.control.close()
            own.ledger.db.close()

    def _collect(self, slot: Slot) -> None:
        """Take note of a run that has ended, and of one that does not end."""
        if slot.thread is None:
            return
        now_s = time.monotonic()
        if slot.said is None:
            if now_s > slot.began_s + slot.job.most_s:
                self._hangs(slot)
            return
        slot.thread = None
        slot.fails = 0 if slot.said == "" else slot.fails + 1
        if slot.fails:
            slot.due_s = slot.began_s + max(slot.job.every_s, pause_s(slot.fails))
        elif slot.job.every_s:
            slot.due_s = slot.began_s + slot.job.every_s
        else:
            slot.due_s, self._looked_s = float("inf"), 0.0  # the next look says when its night is

    def _hangs(self, slot: Slot) -> None:
        self.hung = slot.job
        log.error("%s has run for %.0f s and is given up", slot.job.name, time.monotonic() - slot.began_s)
        attempt(partial(end, self.shop.control, slot.job.name, now_us(), "job-hangs"))

    def _complain(self, fault: Exception | None) -> None:
        """Say once what is wrong, not every second."""
        said = f"{type(fault).__name__}: {fault}" if fault is not None else ""
        if said and said != self._complained:
            log.warning("%s", said)
        self._complained = said or self._complained


def _keep(slot: Slot, shop: Shop) -> None:
    slot.done = slot.job.run(shop)


def _code(fault: Exception) -> str:
    """A fault as a short word: its code, that the disk is full, or its kind."""
    if isinstance(fault, MofangError):
        return fault.code
    return "disk-full" if getattr(fault, "errno", 0) == 28 or "disk is full" in str(fault) else type(fault).__name__


def run_job(shop: Shop, job: Job) -> Done:
    """Run one job here and now, whoever has the turn; its trace stays as after a run by itself."""
    make_table(open_books(shop))
    begin(shop.control, job.name, now_us())
    found: list[Done] = []
    fault = attempt(lambda: found.append(job.run(shop)))
    done = found[0] if found else Done()
    end(shop.control, job.name, now_us(), _code(fault) if fault is not None else "", done.done, done.found)
    if fault is not None:
        raise fault
    return done
