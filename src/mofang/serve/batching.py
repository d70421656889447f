"""Batches for the engine without an artificial delay: whatever waits when an engine thread is free goes together.

Waiting for a fuller batch costs every caller time and, on processors, buys little (bench/serve.py), so nobody waits for
company. The queue is bounded twice: by records, and by the time that a new record would wait, which is told from how fast
the last ones were answered. Beyond that time whoever holds most of the queue is refused at once, and cheaply, so that
answers come no later under ten times the load that can be answered. Requests whose caller has gone or whose time has
passed are dropped before a batch is made, and a record that breaks a batch fails alone: the others of its batch are run
again without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from mofang.core.errors import MofangError
from mofang.serve.boundary import attempt

log = logging.getLogger("mofang.batching")
Answers = list[dict[str, Any]]
Predict = Callable[[list[dict[str, Any]]], Answers]
Done = Callable[[Answers | MofangError], None]

WAIT_MAX_S = 0.35    # a record that would wait longer is not taken from who has most of the queue
STANDING_S = 0.12    # the same once the queue has stood for STANDS_S: a burst is taken in, too much for long is not
STANDS_S = 1.0
FLOOR = 64           # so many records may always wait, however slow the model
LEARN = 0.2          # how much the newest batch says about the pace
LIGHT_S = 100e-6     # a model that needs less for a record is run where its records come from: a thread's turn costs more
HIGH, NORMAL, LOW = 0, 1, 2
TURN = 8             # every so many tickets the lines are looked at in the opposite order, so that none starves


def never() -> bool:
    """Nobody has gone away."""
    return False


class Ticket:
    """One caller's records in the queue. Whoever claims the ticket first decides its outcome; all others are late."""

    __slots__ = ("_claim", "account", "deadline_s", "done", "gone", "records")

    def __init__(self, records: list[dict[str, Any]], done: Done, deadline_s: float, gone: Callable[[], bool],
                 account: str = "") -> None:
        self.records = records
        self.account = account
        self.done = done
        self.deadline_s = deadline_s
        self.gone = gone
        self._claim = threading.Lock()

    @property
    def claimed(self) -> bool:
        """True once an outcome was decided."""
        return self._claim.locked()

    def claim(self) -> bool:
        """True for the first who asks, of all threads."""
        return self._claim.acquire(blocking=False)

    def finish(self, outcome: Answers | MofangError) -> None:
        """Hand over the outcome, if nobody has done so before."""
        if self.claim():
            self.done(outcome)


class Batcher:
    """Threads that feed an engine from one bounded queue with three lines: high, normal and low.

    ``predict`` takes a list of records and returns one answer for each, in order; it is called from ``streams`` threads
    at a time with at most ``batch_max`` records. ``queue_max`` counts records.
    """

    def __init__(self, predict: Predict, *, streams: int = 1, batch_max: int = 32, queue_max: int = 2048,
                 wait_max_s: float = WAIT_MAX_S) -> None:
        assert streams > 0 and batch_max > 0 and queue_max > 0
        self.predict = predict
        self.streams = streams
        self.batch_max = batch_max
        self.queue_max = queue_max
        self.wait_max_s = wait_max_s
        self.sizes: Counter[int] = Counter()  # batches by the number of their records
        self.refused: Counter[str] = Counter()
        self.newest = 0                       # callers in the batch that was answered last
        self.busy_s = 0.0                     # of all streams, in the engine
        self._record_s = 0.0                  # time for one record, all streams at work, lately
        self._tokens: SimpleQueue[bool | None] = SimpleQueue()  # one for each queued ticket; None ends one thread
        self._lines: tuple[deque[Ticket], ...] = (deque(), deque(), deque())
        self._taken = 0
        self._waiting = 0  # records in the queue
        self._by_account: dict[str, int] = {}  # the same by who sent them
        self._floor = FLOOR
        self._closing = False
        self._standing_s = 0.0  # since when somebody has waited longer than half of STANDING_S
        self._gathered: list[Ticket] = []  # for a light model, until its caller's turn ends
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"engine-{n}", daemon=True) for n in range(streams)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, records: list[dict[str, Any]], done: Done, *, deadline_s: float, gone: Callable[[], bool] = never,
        account: str = "", priority: int = NORMAL, soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> Ticket:
        """Queue one caller's records; ``done`` is called once, from another thread, with the answers or the error.

        ``deadline_s`` is on the clock of ``time.monotonic``. Refuses at once as ``check`` does. A caller with an event loop may
        give its ``call_soon``: a light model is then run there, with all that came in the same turn.
        """
        ticket = Ticket(records, done, deadline_s, gone, account)
        count = len(records)
        if soon is not None and count == 1 and self.light and not self._waiting and not self._closing:
            self._gathered.append(ticket)
            if len(self._gathered) == 1:
                soon(self._run_gathered)
            return ticket
        with self._lock:
            self._check(count, account, deadline_s)
            self._waiting += count
            self._by_account[account] = self._by_account.get(account, 0) + count
            self._lines[priority].append(ticket)
            self._tokens.put(True)
        return ticket

    def check(self, account: str, deadline_s: float) -> None:
        """Refuse one record more of this account where ``submit`` would: before anything is spent on reading it.

        ``busy`` (503) where the queue is full, ``waiting-too-many`` (429) where it is long and most of it is this account's
        own, ``too-late`` where the deadline would pass in it, ``closing``.
        """
        if self._waiting or self._closing:
            with self._lock:
                self._check(1, account, deadline_s)

    def refusal(self, count: int, account: str, deadline_s: float) -> tuple[str, int]:
        """With which code so many records more of this account are refused now, and how many wait; "" where they may come."""
        with self._lock:
            code, waiting = self._fault(count, account, deadline_s)
            if code:
                self.refused[code] += 1
            return code, waiting

    @property
    def crowded(self) -> bool:
        """Whether somebody may have to be refused; a look that costs next to nothing and may be a moment old."""
        waiting = self._waiting
        return waiting > self._floor and waiting * self._record_s > self._bound_s(waiting) or waiting >= self.queue_max

    def _bound_s(self, waiting: int) -> float:
        """How long a record may have to wait: less where the queue has not been short for a while (as CoDel does, RFC 8289)."""
        if waiting * self._record_s < STANDING_S / 2:
            self._standing_s = 0.0
            return self.wait_max_s
        now = time.monotonic()
        self._standing_s = self._standing_s or now
        return min(self.wait_max_s, STANDING_S) if now - self._standing_s > STANDS_S else self.wait_max_s

    @property
    def light(self) -> bool:
        """Whether the model needs so little that a thread's turn would cost more."""
        return 0 < self._record_s * self.streams < LIGHT_S

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return self._waiting

    @property
    def wait_s(self) -> float:
        """How long a record that comes now would wait, by the pace of the last batches."""
        return self._waiting * self._record_s

    def _check(self, count: int, account: str, deadline_s: float) -> None:
        code, waiting = self._fault(count, account, deadline_s)
        if code:
            self.refused[code] += 1
            raise MofangError(code, waiting=waiting)

    def _fault(self, count: int, account: str, deadline_s: float) -> tuple[str, int]:
        """Why so many records more may not wait, and how many do; called with the lock in hand."""
        if self._closing:
            return "closing", self._waiting
        if not self._waiting:
            self._standing_s = 0.0
            return "", 0
        if self._waiting + count > self.queue_max:
            return "busy", self._waiting
        wait_s = self._waiting * self._record_s
        if self._waiting > self._floor and wait_s > self._bound_s(self._waiting):
            own = self._by_account.get(account, 0)
            if 2 * own >= self._waiting:
                return "waiting-too-many", own
        if wait_s and 0 < deadline_s - time.monotonic() < wait_s:
            return "too-late", self._waiting
        return "", self._waiting

    def close(self, drain_s: float = 10.0) -> None:
        """Take nothing new, finish what is queued within the time, refuse the rest, end the threads."""
        with self._lock:
            first, self._closing = not self._closing, True
        if first:
            for _ in self._threads:
                self._tokens.put(None)
        until = time.monotonic() + drain_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        while (ticket := self._at_hand()) is not None:
            ticket.finish(MofangError("closing"))

    def _work(self) -> None:
        """One engine thread: wait for a ticket, take what else is there, run it, until told to end."""
        while self._tokens.get() is not None:
            batch = [self._next()]
            size = len(batch[0].records)
            while size < self.batch_max and (another := self._at_hand()) is not None:
                batch.append(another)
                size += len(another.records)
            self._left(batch)
            fault = attempt(partial(self._serve, batch))
            if fault is not None:
                log.error("a batch of %d could not be handed over", len(batch), exc_info=fault)

    def _run_gathered(self) -> None:
        """A light model's records of one turn of the event loop, on its thread."""
        gathered, self._gathered = self._gathered, []
        for begin in range(0, len(gathered), self.batch_max):
            batch = gathered[begin : begin + self.batch_max]
            fault = attempt(partial(self._serve, batch))
            if fault is not None:
                log.error("a batch of %d could not be handed over", len(batch), exc_info=fault)

    def _left(self, batch: Sequence[Ticket]) -> None:
        """These wait no longer."""
        with self._lock:
            for ticket in batch:
                count = len(ticket.records)
                self._waiting -= count
                left = self._by_account[ticket.account] - count
                if left:
                    self._by_account[ticket.account] = left
                else:
                    del self._by_account[ticket.account]

    def _next(self) -> Ticket:
        """The ticket whose turn it is; called with a token in hand, so there is one."""
        self._taken += 1
        lines = self._lines if self._taken % TURN else self._lines[::-1]
        while True:
            for line in lines:
                if line:
                    with suppress(IndexError):  # another stream was quicker
                        return line.popleft()

    def _at_hand(self) -> Ticket | None:
        """The next ticket if one is queued now."""
        try:
            token = self._tokens.get_nowait()
        except Empty:
            return None
        if token is None:
            self._tokens.put(None)  # the end is for later, or for another thread
            return None
        return self._next()

    def _serve(self, batch: list[Ticket]) -> None:
        """Refuse those whom nobody waits for, run the rest."""
        now = time.monotonic()
        wanted = []
        for ticket in batch:
            if ticket.gone():
                ticket.finish(MofangError("caller-gone"))
            elif ticket.deadline_s <= now:
                ticket.finish(MofangError("too-late"))
            elif not ticket.claimed:
                wanted.append(ticket)
        if wanted:
            self._run(wanted)

    def _run(self, batch: Sequence[Ticket]) -> None:
        records = batch[0].records if len(batch) == 1 else [record for ticket in batch for record in ticket.records]
        answers: Answers = []
        began_s = time.perf_counter()
        fault = attempt(partial(self._answer, records, answers))
        self._learn(len(records), time.perf_counter() - began_s)
        if fault is not None:
            refusal = fault if isinstance(fault, MofangError) else MofangError(
                "engine-failed", detail=f"{type(fault).__name__}: {fault}")
            self._run_alone(batch, refusal)
            return
        self.newest = len(batch)
        start = 0
        for ticket in batch:
            end = start + len(ticket.records)
            ticket.finish(answers[start:end])
            start = end

    def _learn(self, count: int, took_s: float) -> None:
        """Remember the pace."""
        with self._lock:
            self.sizes[count] += 1
            self.busy_s += took_s
            newest_s = took_s / count / self.streams
            self._record_s = newest_s if not self._record_s else self._record_s + LEARN * (newest_s - self._record_s)

    def _run_alone(self, batch: Sequence[Ticket], error: MofangError) -> None:
        """A batch of one keeps its error; of several, each is run by itself, so that only the culprit fails."""
        if len(batch) == 1:
            batch[0].finish(error)
            return
        for ticket in batch:
            self._run([ticket])

    def _answer(self, records: list[dict[str, Any]], answers: Answers) -> None:
        for start in range(0, len(records), self.batch_max):
            answers += self.predict(records[start : start + self.batch_max])
        assert len(answers) == len(records), "an engine must answer every record"
