"""Batches for the engine without an artificial delay: whatever waits when an engine thread is free goes together.

Waiting for a fuller batch costs every caller time and, on processors, buys little (bench/serve.py), so nobody waits for
company. The queue is bounded, requests whose caller has gone or whose time has passed are dropped before a batch is
made, and a record that breaks a batch fails alone: the others of its batch are run again without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from mofang.core.errors import MofangError
from mofang.serve.boundary import attempt

log = logging.getLogger("mofang.batching")
Answers = list[dict[str, Any]]
Predict = Callable[[list[dict[str, Any]]], Answers]
Done = Callable[[Answers | MofangError], None]


def never() -> bool:
    """Nobody has gone away."""
    return False


class Ticket:
    """One caller's records in the queue. Whoever claims the ticket first decides its outcome; all others are late."""

    __slots__ = ("_claim", "deadline_s", "done", "gone", "records")

    def __init__(self, records: list[dict[str, Any]], done: Done, deadline_s: float, gone: Callable[[], bool]) -> None:
        self.records = records
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
    """Threads that feed an engine from one bounded queue.

    ``predict`` takes a list of records and returns one answer for each, in order; it is called from ``streams`` threads
    at a time with at most ``batch_max`` records, unless one caller alone sends more. ``queue_max`` counts records.
    """

    def __init__(self, predict: Predict, *, streams: int = 1, batch_max: int = 32, queue_max: int = 2048) -> None:
        assert streams > 0 and batch_max > 0 and queue_max > 0
        self.predict = predict
        self.batch_max = batch_max
        self.queue_max = queue_max
        self._queue: deque[Ticket] = deque()
        self._waiting = 0  # records in the queue
        self._running = 0  # tickets in a batch
        self._closing = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, name=f"engine-{n}", daemon=True) for n in range(streams)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, records: list[dict[str, Any]], done: Done, *, deadline_s: float, gone: Callable[[], bool] = never
    ) -> Ticket:
        """Queue one caller's records; ``done`` is called once, from another thread, with the answers or the error.

        ``deadline_s`` is on the clock of ``time.monotonic``. A full queue refuses at once with ``busy``.
        """
        ticket = Ticket(records, done, deadline_s, gone)
        with self._changed:
            if self._closing:
                raise MofangError("closing")
            if self._waiting and self._waiting + len(records) > self.queue_max:
                raise MofangError("busy", waiting=self._waiting)
            self._queue.append(ticket)
            self._waiting += len(records)
            self._changed.notify()
        return ticket

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return self._waiting

    def close(self, drain_s: float = 10.0) -> None:
        """Take nothing new, finish what is queued within the time, refuse the rest, end the threads."""
        until = time.monotonic() + drain_s
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while (self._queue or self._running) and time.monotonic() < until:
                self._changed.wait(0.05)
            rest, self._waiting = list(self._queue), 0
            self._queue.clear()
        for ticket in rest:
            ticket.finish(MofangError("closing"))
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()) + 1.0)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                batch = self._take()
                self._running += len(batch)
            fault = attempt(partial(self._serve, batch))
            if fault is not None:
                log.error("a batch of %d could not be handed over", len(batch), exc_info=fault)
            with self._changed:
                self._running -= len(batch)
                if self._closing:
                    self._changed.notify_all()

    def _serve(self, batch: list[Ticket]) -> None:
        """Refuse those whom nobody waits for, run the rest."""
        for ticket, refusal in self._dropped(batch):
            ticket.finish(MofangError(refusal))
        wanted = [ticket for ticket in batch if not ticket.claimed]
        if wanted:
            self._run(wanted)

    def _dropped(self, batch: Sequence[Ticket]) -> Iterator[tuple[Ticket, str]]:
        """Tickets that nobody waits for any more, with the reason."""
        now = time.monotonic()
        for ticket in batch:
            if ticket.gone():
                yield ticket, "caller-gone"
            elif ticket.deadline_s <= now:
                yield ticket, "too-late"

    def _take(self) -> list[Ticket]:
        """The oldest tickets that fit one batch; those that are decided or useless take no room in it."""
        batch: list[Ticket] = []
        size = 0
        now = time.monotonic()
        while self._queue and (size == 0 or size + len(self._queue[0].records) <= self.batch_max):
            ticket = self._queue.popleft()
            self._waiting -= len(ticket.records)
            if not ticket.claimed:
                batch.append(ticket)
                size += 0 if ticket.gone() or ticket.deadline_s <= now else len(ticket.records)
        return batch

    def _run(self, batch: Sequence[Ticket]) -> None:
        records = batch[0].records if len(batch) == 1 else [record for ticket in batch for record in ticket.records]
        answers: Answers = []
        fault = attempt(partial(self._answer, records, answers))
        if fault is not None:
            refusal = fault if isinstance(fault, MofangError) else MofangError(
                "engine-failed", detail=f"{type(fault).__name__}: {fault}")
            self._run_alone(batch, refusal)
            return
        start = 0
        for ticket in batch:
            end = start + len(ticket.records)
            ticket.finish(answers[start:end])
            start = end

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
