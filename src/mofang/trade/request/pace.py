"""How fast and how many at once, counted over all workers of a machine in a few pages of shared memory.

Rates go by GCRA (ITU-T I.371, the virtual scheduling form) in whole nanoseconds of the machine's monotonic clock: a limit
keeps one number, the *theoretical arrival time*. Concurrency keeps a count for each worker; a worker holds a file lock as
long as it lives, so that what a killed one had on its way is not counted for ever. Nothing here is durable and nothing
needs to be: after a restart of the machine every rate begins afresh. Several machines each hold the rate by themselves.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mofang.core.errors import MofangError
from mofang.trade.accounts.limits import Limit

try:
    import fcntl
except ImportError:  # no such locks on Windows: each process counts for itself
    fcntl = None  # type: ignore[assignment]

WORKERS = 64
ENTRIES = 4096
ENTRY = struct.Struct(f"<8sq{WORKERS}H")  # a limit's tag, its theoretical arrival time, requests on their way by worker
TIME, COUNT = struct.Struct("<q"), struct.Struct("<H")
TIME_AT, COUNTS_AT = 8, 16
FREE = bytes(8)
LOCK_S = 1.0  # whoever holds the lock needs microseconds; one that was stopped in the middle must not stop all
LET_S = 0.0002  # meanwhile it may need the processor to finish
Entered = Sequence[int]


class Pace:
    """One for each serving process. ``folder`` is what the workers of a shop share; None counts this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, bytes]] = {}
        self._file = self._slot_file = -1
        self.slot = 0
        if folder is None or fcntl is None:
            self._folder = None
            self._map = mmap.mmap(-1, ENTRY.size * ENTRIES)
            return
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "pace", os.O_RDWR | os.O_CREAT, 0o600)
        with self._alone(None):
            if os.fstat(self._file).st_size < ENTRY.size * ENTRIES:
                os.ftruncate(self._file, ENTRY.size * ENTRIES)
            self._map = mmap.mmap(self._file, ENTRY.size * ENTRIES)
            self._claim()

    def enter(self, limits: Sequence[Limit], at_ns: int = 0) -> Entered:
        """Begin a request under these limits, all of them or none; ``leave`` takes what this gives.

        Raises ``rate-limited`` with the seconds to wait, or ``too-many-at-once``.
        """
        with self._alone(LOCK_S):
            now = at_ns or time.monotonic_ns()
            next_ns = []
            for one in limits:
                place = self._place(one.scope)
                if one.interval_ns:
                    next_ns.append((place, self._arrive(one, place, now)))
                if one.concurrency and self._running(place, one.concurrency) >= one.concurrency:
                    raise MofangError("too-many-at-once", most=one.concurrency, whose=whose(one))
            for place, arrival in next_ns:
                TIME.pack_into(self._map, place + TIME_AT, arrival)
            counted = [self._place(one.scope) + COUNTS_AT + 2 * self.slot for one in limits if one.concurrency]
            for at in counted:
                COUNT.pack_into(self._map, at, COUNT.unpack_from(self._map, at)[0] + 1)
        return counted

    def leave(self, entered: Entered) -> None:
        """A request is over. Only this worker writes its counts, so no lock among processes is needed."""
        if entered:
            with self._lock:
                for at in entered:
                    COUNT.pack_into(self._map, at, max(0, COUNT.unpack_from(self._map, at)[0] - 1))

    def close(self) -> None:
        """Give the slot back."""
        with self._lock:
            for each in (self._slot_file, self._file):
                if each >= 0:
                    os.close(each)
            self._slot_file = self._file = -1

    def _arrive(self, limit: Limit, place: int, now: int) -> int:
        """The arrival time that this request leaves behind."""
        known = int(TIME.unpack_from(self._map, place + TIME_AT)[0])
        if known - now > limit.slack_ns + limit.interval_ns:  # of before the machine or the limit was set anew
            known = now
        wait = known - limit.slack_ns - now
        if wait > 0:
            raise MofangError("rate-limited", requests=limit.requests, per_s=limit.per_s, whose=whose(limit),
                              after_s=-(-wait // 1_000_000_000))
        return max(now, known) + limit.interval_ns

    def _running(self, place: int, most: int) -> int:
        counts = ENTRY.unpack_from(self._map, place)[2:]
        running: int = sum(counts)
        if running < most or self._folder is None:
            return running
        for slot, count in enumerate(counts):
            if count and slot != self.slot and self._dead(slot):
                COUNT.pack_into(self._map, place + COUNTS_AT + 2 * slot, 0)
                running -= count
        return running

    def _place(self, scope: str) -> int:
        """Where a limit's entry lies; made where it is new. Callers hold the lock."""
        known = self._known.get(scope)
        if known is not None and self._map[known[0] : known[0] + 8] == known[1]:
            return known[0]
        tag = hashlib.blake2b(scope.encode(), digest_size=8).digest()
        start = int.from_bytes(tag[:4], "little") % ENTRIES
        for step in range(ENTRIES):
            place = (start + step) % ENTRIES * ENTRY.size
            found = self._map[place : place + 8]
            if found == FREE:
                self._map[place : place + 8] = tag
            if found in (tag, FREE):
                self._known[scope] = place, tag
                return place
        self._map[:] = bytes(len(self._map))  # full of limits that are long gone: all begin afresh
        self._known.clear()
        return self._place(scope)

    @contextmanager
    def _alone(self, most_s: float | None) -> Iterator[None]:
        """Keep the other threads and processes out; ``busy`` where that takes longer than it ever should."""
        with self._lock:
            if self._file < 0:
                yield
                return
            until = None if most_s is None else time.monotonic() + most_s
            while True:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | (fcntl.LOCK_NB if until is not None else 0))
                    break
                except BlockingIOError:
                    if until is not None and time.monotonic() > until:
                        raise MofangError("busy", waiting=0) from None
                    time.sleep(LET_S)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _slot_path(self, slot: int) -> Path:
        assert self._folder is not None
        return self._folder / f"pace-{slot}"

    def _claim(self) -> None:
        """A slot of which no living process holds the lock; what its last owner left behind is forgotten."""
        for slot in range(WORKERS):
            file = os.open(self._slot_path(slot), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            self.slot, self._slot_file = slot, file
            for place in range(0, ENTRIES * ENTRY.size, ENTRY.size):
                if self._map[place : place + 8] != FREE:
                    COUNT.pack_into(self._map, place + COUNTS_AT + 2 * slot, 0)
            return
        raise MofangError("workers-too-many", most=WORKERS)

    def _dead(self, slot: int) -> bool:
        with suppress(FileNotFoundError):
            file = os.open(self._slot_path(slot), os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            finally:
                os.close(file)
        return True


def whose(limit: Limit) -> str:
    """What a refusal names: the key, or the whole account."""
    return limit.key or "*"
