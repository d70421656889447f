"""What a serving process tells of itself: a small file each second, which the day's screen reads.

The request's way pays for it with two looks at the clock and one append. Everything else, sorting the last minute's
latencies into steps of five per cent and writing the file, happens once a second on a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mofang.core.identity import now_us
from mofang.serve.boundary import attempt
from mofang.web.figures import Figures, told_in

EVERY_S = 1.0
SECONDS = 60  # that p50 and p99 look back
SHORTEST_S, STEP, BUCKETS = 50e-6, 1.05, 290  # up to a minute
WAITING_MOST = 200_000  # latencies between two looks; more than any process answers in a second
FORMAT = 1
COMMIT_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

log = logging.getLogger("mofang.statistics")


def none_waiting() -> int:
    """Where there is no queue to ask."""
    return 0


class Histogram:
    """Counts of values by their size, as Prometheus knows them: each edge counts what is at most as large."""

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.total = 0.0

    def add_all(self, values: Sequence[float]) -> None:
        """Count values."""
        import numpy as np

        found = np.bincount(np.searchsorted(self.edges, values), minlength=len(self.counts)).tolist()
        self.counts = [old + new for old, new in zip(self.counts, found, strict=True)]
        self.total += sum(values)


class Statistics:
    """Counts of one serving process. Without a ``folder`` nothing is written."""

    def __init__(self, folder: Path | None = None, models: Sequence[str] = (), waiting: Callable[[], int] = none_waiting) -> None:
        self._lock = threading.Lock()
        self.telling = threading.RLock()  # one makes the page of figures at a time
        self.path = told_in(folder, os.getpid()) if folder else None
        self.models = list(models)
        self.waiting = waiting
        self.address = ""
        self.figures: Figures | None = None  # of several processes: where each puts its page
        self.page: Callable[[], str] = str
        self.started_us = now_us()
        self.requests = 0
        self.refused: Counter[str] = Counter()
        self.failed = 0  # refusals that were our own fault: 5xx
        self.latencies: dict[str, Histogram] = {}  # of answered requests, by release
        self.commits = Histogram(COMMIT_S)
        self._new: deque[tuple[float, str]] = deque(maxlen=WAITING_MOST)
        self._second: deque[float] = deque(maxlen=WAITING_MOST)
        self._seconds: deque[Any] = deque(maxlen=SECONDS)

    def refuse(self, code: str, status: int) -> None:
        """Count one refusal."""
        self.refused[code] += 1
        self.failed += status >= 500

    def fault(self, request_id: str, fault: BaseException) -> None:
        """Keep what nobody foresaw, with the id that the caller was told."""
        log.error("request %s failed", request_id, exc_info=fault)

    async def tell(self) -> None:
        """Write the file once a second until cancelled, then take it away."""
        if self.path is None:
            return
        try:
            while True:
                await asyncio.to_thread(self._tell)
                await asyncio.sleep(EVERY_S)
        finally:
            attempt(partial(self.path.unlink, missing_ok=True))

    def _tell(self) -> None:
        fault = attempt(self.write)
        if fault is not None:
            log.warning("statistics could not be written: %s: %s", type(fault).__name__, fault)

    def write(self) -> None:
        """Count the last second and write the file; whoever reads sees the old one or the new one."""
        assert self.path is not None
        told = self.look()
        self.path.parent.mkdir(exist_ok=True)
        self.write_figures()
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(told), encoding="utf-8")
        os.replace(beside, self.path)

    def write_figures(self) -> None:
        """Put this process's page of figures beside the others', where there are several."""
        if self.figures is not None:
            with self.telling:
                self.figures.write(self.page())

    def took(self, seconds: float, model: str = "") -> None:
        """One answered request, and the release that answered it."""
        self._new.append((seconds, model))

    def gather(self) -> None:
        """Sort what was answered since the last time into its histograms."""
        with self._lock:
            fresh: dict[str, list[float]] = {}
            for _ in range(len(self._new)):
                seconds, model = self._new.popleft()
                fresh.setdefault(model, []).append(seconds)
            for model, values in fresh.items():
                self.latencies.setdefault(model, Histogram(LATENCY_S)).add_all(values)
                self._second.extend(values)
                self.requests += len(values)

    def look(self) -> dict[str, Any]:
        """Close the running second and say everything that is known."""
        import numpy as np

        self.gather()
        with self._lock:
            seconds = list(self._second)
            self._second.clear()
        steps = np.log(np.maximum(np.array(seconds), SHORTEST_S) / SHORTEST_S) / np.log(STEP)
        self._seconds.append(np.bincount(np.minimum(steps.astype(np.int64), BUCKETS - 1), minlength=BUCKETS))
        minute = np.sum(self._seconds, axis=0)
        count = int(minute.sum())
        found: dict[str, Any] = {"requests": count}
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            at = int(np.searchsorted(np.cumsum(minute), share * count)) if count else 0
            found[name] = round(SHORTEST_S * STEP ** (at + 1) * 1000, 3) if count else None
        return {"format": FORMAT, "pid": os.getpid(), "host": socket.gethostname(), "address": self.address,
                "models": self.models, "started_us": self.started_us, "at_us": now_us(), "requests": self.requests,
                "refused": dict(self.refused), "failed": self.failed, "last_minute": found, "queue": self.waiting()}
