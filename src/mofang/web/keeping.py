"""The keeper beside a server: a process of its own, so that nothing it does can slow or stop an answer, started again if it ends.

It is the command line's ``jobs run --forever`` at the lowest priority. It ends by itself when the server is gone, however that
ended: its standard input is a pipe that the server holds. What it tells of the jobs is a small file, which ``/metrics`` adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop
from mofang.trade.keeping.sight import sight
from mofang.web.metrics import JOBS_FILE, family

AFTER_S = 3.0  # a server that has just begun has other things to do
LIVED_S = 60.0  # one that ends sooner is started anew ever later
PAUSE_MOST_S = 60.0
ENDS_S = 8.0


class KeeperProcess:
    """Starts the keeper of a shop and, when it ends, the next one."""

    def __init__(self, shop: Path) -> None:
        self.command = [sys.executable, "-m", "mofang", "--shop", str(shop), "jobs", "run", "--forever", "--held"]
        self.process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin, soon; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end, and wait for that a moment."""
        with self._lock:
            self._ended.set()
            running = self.process
        if running is None:
            return
        assert running.stdin is not None
        with suppress(OSError):
            running.stdin.close()
        try:
            running.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()

    def _keep(self) -> None:
        pause_s = AFTER_S
        while not self._ended.wait(pause_s):
            began_s = time.monotonic()
            with self._lock:
                if self._ended.is_set():
                    return
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                                start_new_session=True)
            self.process.wait()
            pause_s = 1.0 if time.monotonic() > began_s + LIVED_S else min(PAUSE_MOST_S, pause_s * 2)


@contextmanager
def kept(shop: Path, wanted: bool, ready: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """While the block lasts a keeper runs beside it, from when what it yields, the server's ``ready``, is called."""
    keeper = KeeperProcess(shop)

    def begun(*given: Any, **more: Any) -> None:
        ready(*given, **more)
        if wanted:
            keeper.start()

    try:
        yield begun
    finally:
        keeper.stop()


def write_figures(shop: Shop) -> None:
    """Write what ``/metrics`` tells of the jobs, in a shop's folder; whoever reads sees the old file or the new one."""
    found = sight(shop)
    lines: list[str] = []
    rows = [({"job": name}, one) for name, one in sorted(found.jobs.items())]
    lines += family("mofang_job_last_success_timestamp_seconds", "gauge", "When each job ended well last (0: never).",
                    [(named, one.ok_us / 1e6) for named, one in rows])
    lines += family("mofang_job_failures", "gauge", "How often in a row each job has failed.",
                    [(named, one.fails) for named, one in rows])
    if found.reconciled is not None:
        lines += family("mofang_reconcile_differences", "gauge", "What did not fit at the last reconciliation.",
                        [({}, found.reconciled["wrong"])])
    ends = [({"endpoint": one.endpoint}, one) for one in found.outbox]
    lines += family("mofang_outbox_waiting", "gauge", "Events that an endpoint has not been told yet.",
                    [(named, one.waiting) for named, one in ends])
    lines += family("mofang_outbox_given_up", "gauge", "Events that an endpoint has not taken after the last try.",
                    [(named, one.given_up) for named, one in ends])
    path = shop.path / "scratch" / JOBS_FILE
    path.parent.mkdir(exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(beside, path)
