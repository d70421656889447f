"""Batches for the engine without an artificial delay: whatever waits when an engine thread is free goes together.

Waiting for a fuller batch costs every caller time and, on processors, buys little (bench/serve.py), so nobody waits for
company. The queue is bounded, requests whose caller has gone or whose time has passed are dropped before a batch is
made, and a record that breaks a batch fails alone: the others of its batch are run again without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import Empty, SimpleQueue
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
    at a time with at most ``batch_max`` records. ``queue_max`` counts records.
    """

    def __init__(self, predict: Predict, *, streams: int = 1, batch_max: int = 32, queue_max: int = 2048) -> None:
        assert streams > 0 and batch_max > 0 and queue_max > 0
        self.predict = predict
        self.batch_max = batch_max
        self.queue_max = queue_max
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()  # None ends one thread
        self._waiting = 0  # records in the queue
        self._closing = False
        self._lock = threading.Lock()
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
        with self._lock:
            if self._closing:
                raise MofangError("closing")
            if self._waiting and self._waiting + len(records) > self.queue_max:
                raise MofangError("busy", waiting=self._waiting)
            self._waiting += len(records)
            self._queue.put(ticket)
        return ticket

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return self._waiting

    def close(self, drain_s: float = 10.0) -> None:
        """Take nothing new, finish what is queued within the time, refuse the rest, end the threads."""
        with self._lock:
            first, self._closing = not self._closing, True
        if first:
            for _ in self._threads:
                self._queue.put(None)
        until = time.monotonic() + drain_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for ticket in self._at_hand():
            ticket.finish(MofangError("closing"))

    def _work(self) -> None:
        """One engine thread: wait for a ticket, take what else is there, run it, until told to end."""
        while (ticket := self._queue.get()) is not None:
            batch = [ticket]
            size = len(ticket.records)
            for another in self._at_hand():
                batch.append(another)
                size += len(another.records)
                if size >= self.batch_max:
                    break
            with self._lock:
                self._waiting -= size
            fault = attempt(partial(self._serve, batch))
            if fault is not None:
                log.error("a batch of %d could not be handed over", len(batch), exc_info=fault)

    def _at_hand(self) -> Iterator[Ticket]:
        """Tickets that are queued now."""
        while True:
            try:
                ticket = self._queue.get_nowait()
            except Empty:
                return
            if ticket is None:
                self._queue.put(None)  # the end is for later, or for another thread
                return
            yield ticket

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
