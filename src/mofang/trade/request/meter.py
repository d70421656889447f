"""The meter: every answer is charged durably before it leaves, and many answers share one commit.

A request reserves its price in memory against an *allotment*, money that this process has set aside durably. When the
answer is ready, its usage row, the debit and the stored answer for retries go into one transaction together with those
of every other request that waits: no timer, whatever is queued when the last commit is done (``commit``). Near the edge
of a customer's money allotments shrink to single requests, so that the limit is never passed by one micro. If the disk
fails, nobody gets an answer that was not recorded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Literal

from mofang.core.clock import UTC_OFFSET, day_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import Journals
from mofang.serve.boundary import attempt
from mofang.trade.billing.balance import return_expired
from mofang.trade.billing.paid import lapse_due
from mofang.trade.kept import forget_due, make_kept_table
from mofang.trade.request.commit import Charge, Done, Draw, Find, GiveBack, Plan, Work
from mofang.trade.request.purses import Budgets, Purses
from mofang.trade.request.replay import forget_old, make_table

EXPIRES_S = 60.0  # an allotment not renewed for so long is given back by anybody
IDLE_S = 20.0  # an allotment not used for so long is given back by its owner
SWEEP_S = 15.0  # between two looks for allotments of killed servers and outdated answers
AGAIN_S = 0.25  # the same where more is outdated than one look takes away
FORGET_MOST = 1000  # answers that one look takes away: meanwhile nothing is committed
RETRY_S = 0.5  # after a full disk or a lost connection the database is tried again at most so often
QUEUE_MAX = 20_000
ALONE_MS_MAX = 2.0  # where the last commit took longer, an event loop does not wait for one
COMMITS_KEPT = 20_000  # figures of commits that nobody has looked at yet
SQLITE_BUSY, SQLITE_FULL, POSTGRES_FULL = 5, 13, "53100"

log = logging.getLogger("mofang.meter")
State = Literal["running", "waiting", "stopped"]
REFUSALS = {"waiting": "meter-waiting", "stopped": "meter-stopped"}


class Meter:
    """One per serving process; it owns the connection and works on a thread of its own.

    ``reserve``, ``release`` and ``submit`` may be called from any thread. The ``done`` callbacks of submitted work run on
    the meter's thread and must be quick. ``state`` is ``running``, ``waiting`` (full disk, lost connection: tried again
    twice a second) or ``stopped`` (a write failed in a way that only a restart can mend).
    """

    def __init__(self, db: Database, *, expires_s: float = EXPIRES_S, utc_offset: str = UTC_OFFSET) -> None:
        self.db = db
        self.expires_us = int(expires_s * 1_000_000)
        self.utc_offset = utc_offset
        check_durable(db)
        self.journals = Journals(db)
        make_table(db)
        make_kept_table(db)
        self.purses = Purses()
        self.state: State = "running"
        self.commits = 0
        self.commit_ms = 0.0  # of the newest commit
        self.took: deque[tuple[float, int]] = deque(maxlen=COMMITS_KEPT)  # seconds and pieces of work of the last commits
        self._queue: SimpleQueue[Work | None] = SimpleQueue()  # None ends the thread
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # whoever uses the connection
        self._closing = False
        self._failed_s = -RETRY_S
        self._lost = False  # the connection, or trust in it
        self._sweep_s = SWEEP_S  # until the next sweep
        self._thread = threading.Thread(target=self._work, name="meter", daemon=True)

    @property
    def worker(self) -> str:
        """This process in the journal; allotments are held in this name."""
        return self.journals.writer

    @property
    def quick(self) -> bool:
        """Whether an event loop may wait for a commit: a file on this machine, and the last one was quick."""
        return 0 < self.commit_ms < ALONE_MS_MAX and self.db.dialect == "sqlite"

    def start(self) -> None:
        """Return what killed servers held, then take work."""
        return_expired(self.journals, now_us())
        self._thread.start()

    def reserve(self, account: str, micros: int, budgets: Budgets = ()) -> bool:
        """Reserve in memory. False where an allotment is too small: then submit a ``Draw``."""
        return self.purses.reserve(account, micros, budgets)

    def release(self, account: str, micros: int, budgets: Budgets = ()) -> None:
        """Give up a reservation whose request will not be charged."""
        self.purses.release(account, micros, budgets)

    def submit(self, work: Work) -> None:
        """Queue work for the next commit. Refuses at once where the meter cannot write."""
        if self.state != "running" and (self.state == "stopped" or self._resting()):
            raise MofangError(REFUSALS[self.state])
        if self._queue.qsize() >= QUEUE_MAX:
            raise MofangError("busy", waiting=self._queue.qsize())
        with self._lock:
            if self._closing:
                raise MofangError("closing")
            self._queue.put(work)

    def settle_alone(self, work: Work) -> bool:
        """Commit on this very thread, where nothing waits and no commit runs: one thread less to wait for. False: submit it."""
        if self.state != "running" or self._queue.qsize() or not self._turn.acquire(blocking=False):
            return False
        try:
            if self._closing or self._lost:
                return False
            self._tell([work], self._settle([work]))
        finally:
            self._turn.release()
        return True

    def tick(self) -> None:
        """Return allotments that nobody has used for a while; called every few seconds, harmless at any time."""
        if self.state == "running" and not self._closing:
            for account in self.purses.idle(IDLE_S):
                self.submit(GiveBack(account, ignore))

    def close(self) -> None:
        """Commit what is queued, return every allotment, end the thread, close the connection."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        self.db.close()

    def _resting(self) -> bool:
        return time.monotonic() < self._failed_s + RETRY_S

    def _work(self) -> None:
        swept_s = time.monotonic()
        ending = False
        while not ending:
            group = self._group()
            ending = bool(group) and group[-1] is None  # nothing is queued after the end
            works = [work for work in group if work is not None]
            with self._turn:
                if works:
                    self._tell(works, self._settle(works))
                if not ending and time.monotonic() > swept_s + self._sweep_s:
                    swept_s = time.monotonic()
                    self._sweep()
        with self._turn:
            self._settle([GiveBack(account, ignore) for account in self.purses.by_account])

    def _group(self) -> list[Work | None]:
        """Everything that is queued, once there is something; nothing after a quiet while."""
        try:
            group = [self._queue.get(timeout=self._sweep_s)]
        except Empty:
            return []
        group += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        return group

    def _settle(self, group: list[Work]) -> list[Any]:
        """Commit a group; where that fails, the same refusal for each."""
        started_s = time.perf_counter()
        plan = Plan(self.purses, group, now_us(), self.expires_us, self.utc_offset)
        fault = attempt(partial(self._write, plan))
        if fault is not None:
            plan.undo()
            self._failed(fault)
            return [MofangError(REFUSALS[self.state])] * len(group)
        plan.keep()
        self.state = "running"
        self.commits += 1
        took_s = time.perf_counter() - started_s
        self.commit_ms = took_s * 1000
        self.took.append((took_s, len(group)))
        return plan.outcomes

    def _write(self, plan: Plan) -> None:
        if self.state == "stopped":
            raise MofangError("meter-stopped")
        if self._lost:
            self._reopen()
        if plan.reads_only:
            plan.read(self.journals)
        else:
            with self.db.transaction():
                plan.write(self.journals)

    def _tell(self, group: list[Work], outcomes: list[Any]) -> None:
        for work, outcome in zip(group, outcomes, strict=True):
            fault = attempt(partial(work.done, outcome))
            if fault is not None:
                log.error("an outcome could not be handed over", exc_info=fault)

    def _failed(self, fault: Exception) -> None:
        """A full or busy database may be tried again, a lost PostgreSQL connection is opened anew; all else stops."""
        if self.state != "stopped":
            log.error("the meter could not write: %s: %s", type(fault).__name__, fault)
        self._failed_s = time.monotonic()
        self.journals.forget_heads()
        full = (getattr(fault, "sqlite_errorcode", 0) & 0xFF) in (SQLITE_BUSY, SQLITE_FULL)
        if self.state == "stopped" or (self.db.dialect == "sqlite" and not full) or isinstance(fault, AssertionError):
            self.state = "stopped"
            return
        self.state = "waiting"
        self._lost = self.db.dialect == "postgresql" and getattr(fault, "sqlstate", "") != POSTGRES_FULL

    def _reopen(self) -> None:
        """A new connection and, since nobody knows what the old one wrote, a new worker with nothing set aside."""
        self.db = self.db.again()
        self.journals = Journals(self.db)
        self._lost = False

    def _sweep(self) -> None:
        """Give back what killed servers held and forget outdated answers."""
        if self.state != "running":
            return
        fault = attempt(self._return_and_forget)
        if fault is not None:
            self._failed(fault)

    def _return_and_forget(self) -> None:
        return_expired(self.journals, now_us(), keep=self.worker)
        gone = (forget_old(self.db, now_us(), FORGET_MOST), forget_due(self.db, now_us(), FORGET_MOST))
        self._sweep_s = AGAIN_S if max(gone) == FORGET_MOST else SWEEP_S
        lapse_due(self.journals, day_of(now_us(), self.utc_offset))


DURABLE = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "local", "remote_write", "remote_apply")}


def check_durable(db: Database) -> None:
    """Refuse a PostgreSQL that says a commit is done before it is on its disk: what was billed could be lost."""
    if db.dialect == "postgresql":
        for name, good in DURABLE.items():
            found = db.rows(f"show {name}")[0][0]
            if found not in good:
                raise MofangError("database-not-durable", setting=name, value=found, wanted=good[0])


def ignore(_outcome: Any) -> None:
    """Nobody waits."""


__all__ = ["Charge", "Done", "Draw", "Find", "Meter"]
