"""The decode driver: one thread that writes all answers of a generator at the same time, token by token.

New requests join at the next step, and one that ends, whose caller has hung up or whose time has passed leaves at the next step
too, so its slot is free within a few milliseconds. Prompts are read in pieces between the steps of the others. The queue is
bounded; a full one refuses at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from mofang.core.errors import MofangError
from mofang.engine.generation.opened import Generator
from mofang.engine.generation.rows import Piece, Row
from mofang.engine.generation.sampling import Sampling
from mofang.serve.batching import NORMAL, Answers, Done, Ticket, never
from mofang.serve.boundary import attempt

QUEUE_MAX = 256
WRITE_S_MAX = 600.0  # for one answer, once it has a slot

log = logging.getLogger("mofang.generation")
Deliver = Callable[[Piece | MofangError], None]


class Job:
    """One answer that was asked for. ``deliver`` gets its pieces on the driver's thread, the last with ``finish`` or an error."""

    __slots__ = ("begin_s", "cancelled", "deliver", "end_s", "gone", "over", "row")

    def __init__(self, row: Row, deliver: Deliver, begin_s: float, gone: Callable[[], bool]) -> None:
        self.row, self.deliver, self.gone = row, deliver, gone
        self.begin_s, self.end_s = begin_s, 0.0
        self.cancelled = self.over = False
        row.owner = self

    def cancel(self) -> None:
        """Nobody wants the rest; may be called from any thread."""
        self.cancelled = True

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled or self.gone()


class Driver:
    """The thread that writes. ``waiting`` and ``writing`` count answers in the queue and in slots."""

    def __init__(self, generator: Generator, *, queue_max: int = QUEUE_MAX) -> None:
        self.generator, self.queue_max = generator, queue_max
        self.rows = generator.rows()
        self.steps = self.tokens = 0
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._held: list[Job] = []  # taken from the queue, without a slot
        self._lock = threading.Lock()
        self._waiting = 0
        self._closing = self._stopped = False
        self._thread = threading.Thread(target=self._work, name="generator", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Answers that have no slot yet."""
        return self._waiting

    @property
    def writing(self) -> int:
        """Answers that are in a slot."""
        return len(self.rows)

    def ask(self, prompt: Sequence[int], sampling: Sampling, deliver: Deliver, *, begin_s: float,
            gone: Callable[[], bool] = never) -> Job:
        """Queue an answer; it must have begun by ``begin_s`` of ``time.monotonic``.

        Raises ``busy``, ``closing``, ``prompt-too-long``, ``prompt-without-tokens``.
        """
        job = Job(self.rows.row(prompt, sampling), deliver, begin_s, gone)
        with self._lock:
            if self._closing:
                raise MofangError("closing")
            if self._waiting >= self.queue_max:
                raise MofangError("busy", waiting=self._waiting)
            self._waiting += 1
            self._queue.put(job)
        return job

    def check(self, account: str, deadline_s: float) -> None:
        """As a batcher: refuse at once, before anything is read, where there is no room in the line."""
        if self._waiting >= self.queue_max:
            raise MofangError("busy", waiting=self._waiting)

    def submit(self, records: list[dict[str, Any]], done: Done, *, deadline_s: float, gone: Callable[[], bool] = never,
               account: str = "", priority: int = NORMAL) -> Ticket:
        """As a batcher: texts for records, all of them handed over at once; the answers' ``tokens`` stand beside each text."""
        ticket = Ticket(records, done, deadline_s, gone)
        answers: list[dict[str, Any]] = [{"text": "", "tokens": 0} for _ in records]
        left = [len(records)]

        def deliver(number: int, piece: Piece | MofangError) -> None:
            if isinstance(piece, MofangError):
                ticket.finish(piece)
                return
            answers[number]["text"] += piece.text
            if piece.finish:
                answers[number]["tokens"] = len(jobs[number].row.ids)
                left[0] -= 1
                if not left[0]:
                    ticket.finish(answers)

        prompts = [self.generator.prompt(record) for record in records]
        jobs: list[Job] = []
        for number, prompt in enumerate(prompts):
            def unwanted() -> bool:
                return ticket.claimed or gone()

            try:
                jobs.append(self.ask(prompt, Sampling(), partial(deliver, number), begin_s=deadline_s, gone=unwanted))
            except MofangError:
                for job in jobs:
                    job.cancel()
                raise
        return ticket

    def close(self, drain_s: float = 10.0) -> None:
        """Take nothing new, finish what has a slot within the time, refuse the rest, end the thread."""
        with self._lock:
            first, self._closing = not self._closing, True
        if first:
            self._queue.put(None)
        self._thread.join(drain_s)
        self._stopped = True
        self._thread.join(drain_s)

    def _work(self) -> None:
        ending = False
        while True:
            ending = self._take(wait=not len(self.rows) and not self._held and not ending) or ending
            self._fill(ending)
            if ending and (self._stopped or not len(self.rows)):
                break
            if len(self.rows):
                self._step()
        for row in self.rows.rows():
            self._end(row.owner, MofangError("closing"))

    def _take(self, wait: bool) -> bool:
        """Bring what is queued into the line; True once the end was told."""
        try:
            while True:
                job = self._queue.get(block=wait)
                wait = False
                if job is None:
                    return True
                self._held.append(job)
        except Empty:
            return False

    def _fill(self, ending: bool) -> None:
        """Free the slots that nobody waits for, and give slots to the first in line."""
        now = time.monotonic()
        for row in self.rows.rows():
            job: Job = row.owner
            if job.unwanted or now > job.end_s:
                self.rows.leave(row)
                self._end(job, MofangError("caller-gone" if job.unwanted else "too-late"))
        line, self._held = self._held, []
        for job in line:
            if job.unwanted or now > job.begin_s or ending:
                self._count(job)
                self._end(job, MofangError("caller-gone" if job.unwanted else "closing" if ending else "too-late"))
            elif self.rows.takes:
                self._count(job)
                job.end_s = now + WRITE_S_MAX
                self.rows.join(job.row)
            else:
                self._held.append(job)

    def _count(self, _job: Job) -> None:
        with self._lock:
            self._waiting -= 1

    def _step(self) -> None:
        found: list[tuple[Row, Piece]] = []
        fault = attempt(lambda: found.extend(self.rows.step()))
        if fault is not None:
            self._failed(fault)
            return
        self.steps += 1
        self.tokens += len(found)
        for row, piece in found:
            self._tell(row.owner, piece)

    def _failed(self, fault: Exception) -> None:
        """A step that broke ends all answers in it: nobody can tell whose fault it was."""
        told = f"{type(fault).__name__}: {fault}"
        error = fault if isinstance(fault, MofangError) else MofangError("engine-failed", detail=told)
        log.error("a step of %d answers failed: %s", len(self.rows), fault)
        for row in self.rows.rows():
            self.rows.leave(row)
            self._end(row.owner, error)

    def _end(self, job: Job, error: MofangError) -> None:
        self._tell(job, error)

    def _tell(self, job: Job, piece: Piece | MofangError) -> None:
        if job.over:
            return
        job.over = isinstance(piece, MofangError) or bool(piece.finish)
        fault = attempt(partial(job.deliver, piece))
        if fault is not None:
            log.error("a piece could not be handed over", exc_info=fault)


def same_answers(found: Answers) -> list[dict[str, Any]]:
    """Answers without what is only for the bill."""
    return [{"text": one["text"]} for one in found]
