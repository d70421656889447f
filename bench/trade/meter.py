"""Parts of bench/trade.py about metering: what it costs a request, and how many rows it writes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _noop_server import USUAL, stock
from figures import Figure, middle

from mofang.core.identity import new_id
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customers
from mofang.trade.pricing.prices import prices
from mofang.trade.request.commit import Charge, Draw
from mofang.trade.request.meter import Meter

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent
ROOT = BENCH.parent
ARMS = ("unmetered", "floor", "metered", "limited")
CLIENTS = (1, 32)
BURST_S = 0.3  # beside the half second in which the load generator warms up, which counts too
WINDOW = 512  # answers that wait for a commit at a time: what a busy server has on its way
ANSWER = json.dumps({"request_id": "req_0192d0c1-1111-7aaa-8bbb-cccccccccccc", "model": "noop@1", "units": 1, "price": "0.005",
                     "currency": "CNY", "test": False, "answer": {"label": "pos", "scores": {"neg": 0.25, "pos": 0.75}}}).encode()


# meter


@dataclass
class Spent:
    """CPU seconds of a process, of all its threads and of each: in all, and of them in the system."""

    all_s: float = 0.0
    system_s: float = 0.0
    by_thread: dict[str, float] = field(default_factory=dict)
    answered: int = 0

    def add(self, other: Spent, sign: int = 1) -> None:
        self.all_s += sign * other.all_s
        self.system_s += sign * other.system_s
        self.answered += sign * other.answered
        for name, took in other.by_thread.items():
            self.by_thread[name] = self.by_thread.get(name, 0.0) + sign * took

    def us(self, seconds: float) -> float:
        """Microseconds a request."""
        return seconds / self.answered * 1e6


class Arm:
    """One running server, and what it has spent under load so far."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.path, self.spent = kind, folder / kind, Spent()
        stock(self.path, USUAL)
        command = [sys.executable, str(HERE / "server.py"), str(self.path), "0", kind]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{BENCH}"}
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.server.stdout is not None
        self.port = self.server.stdout.readline().strip().rpartition(":")[2]
        self.key = (self.path / "live").read_text()
        self.names = json.loads((self.path / "threads.json").read_text())

    def now(self) -> Spent:
        """What it has spent until now: nanoseconds by the scheduler, the system's part by the clock's ticks."""
        found, ticks = Spent(), os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{self.server.pid}/task").iterdir():
            took = int((task / "schedstat").read_text().split()[0]) / 1e9
            found.system_s += int((task / "stat").read_text().rpartition(")")[2].split()[12]) / ticks
            found.all_s += took
            name = "event loop" if int(task.name) == self.server.pid else self.names.get(task.name, "others")
            found.by_thread[name] = found.by_thread.get(name, 0.0) + took
        return found

    def load(self, clients: int, seconds: float) -> int:
        """Ask as fast as so many clients can; how many were answered."""
        command = [sys.executable, str(BENCH / "_load.py"), self.port, "/v1/predict/noop", str(clients), str(seconds), self.key, "1"]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=seconds + 60).stdout)
        assert not told["others"], told
        return int(told["answered"])

    def burst(self, clients: int, seconds: float, idle: Spent) -> None:
        """One measured stretch; ``idle`` is what it spends in a second in which nobody asks."""
        before, began = self.now(), time.monotonic()
        answered = self.load(clients, seconds)
        spent, took_s = self.now(), time.monotonic() - began
        spent.add(before, -1)
        spent.all_s -= idle.all_s * took_s
        spent.answered = answered
        self.spent.add(spent)

    def close(self) -> list[float]:
        """Stop it; how long its commits took."""
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(30)
        found: list[float] = json.loads((self.path / "commits.json").read_text())
        return found


def meter(rounds: int, small: bool) -> list[Figure]:
    """CPU time of the serving process per request (what it takes idle is taken off), with a fresh Idempotency-Key each, over HTTP on
    loopback; the servers of all arms run side by side and are asked in turn, a second each. `metered`: key, allotment,
    idempotency, durable group commit, replay body; `limited`: two rates, a count and two budgets besides; against the same server
    without any of it (`unmetered`). `one row`: the unmetered server that writes each answer into a table of one column, by
    the ``sqlite3`` module, with the same pragmas: what the disk and the kernel take from any server that is durable, and
    what code costs that has just slept in ``fsync``. One client gets one commit a request; 32 share commits. The load
    generator is a process of its own beside them. In brackets: the median round, in the system and by threads.

    Where one request's commit goes, by thread clocks with ``synchronous=off`` (no sleep, warm caches; 2 cores): 115 to 130 µs in
    all, of them some 45 in SQLite's ``commit`` (about 20 ``pwrite``: ten pages, each with its head), 35 in its six statements,
    40 in Python. In a group of 16 it is 30 µs a row. What ``fsync`` adds shows in `one row`."""
    took: dict[tuple[str, int], list[Spent]] = {(kind, clients): [] for kind in ARMS for clients in CLIENTS}
    commits: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        for clients in CLIENTS:
            with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # the disk that the tree lies on, no memory
                arms: list[Arm] = []
                try:
                    arms += [Arm(kind, Path(folder)) for kind in ARMS]
                    _turns(arms, clients, 2 if small else 10)
                finally:
                    took_s = {arm.kind: arm.close() for arm in arms}
            for arm in arms:
                took[arm.kind, clients].append(arm.spent)
            commits[clients].append(sorted(took_s["metered"])[int(len(took_s["metered"]) * 0.99)] * 1000)
    return [row for clients in CLIENTS for row in _figures(took, clients, commits[clients])]


def _turns(arms: list[Arm], clients: int, turns: int) -> None:
    for arm in arms:
        arm.load(clients, 0.3)
    before = [arm.now() for arm in arms]
    time.sleep(1.0)
    idle = [arm.now() for arm in arms]
    for one, other in zip(idle, before, strict=True):
        one.add(other, -1)
    for _ in range(turns):
        for arm, spent in zip(arms, idle, strict=True):
            arm.burst(clients, BURST_S, spent)


def _figures(took: dict[tuple[str, int], list[Spent]], clients: int, p99: list[float]) -> list[Figure]:
    """The rows of the table about so many clients."""
    bare = took["unmetered", clients]
    value, spread = middle([one.us(one.all_s) for one in bare])
    found = [Figure(f"unmetered, {clients} clients, µs CPU a request{_parts(bare)}", value, spread=spread)]
    for kind in ARMS[1:]:
        own = took[kind, clients]
        value, spread = middle([one.us(one.all_s) - other.us(other.all_s) for one, other in zip(own, bare, strict=True)])
        name = "one row" if kind == "floor" else kind
        found.append(Figure(f"{name} adds, {clients} clients{_parts(own)}", value, goal=None if kind == "floor" else ("<=", 200.0),
                            spread=spread))
    value, spread = middle([one.us(one.all_s) - other.us(other.all_s)
                            for one, other in zip(took["metered", clients], took["floor", clients], strict=True)])
    found.append(Figure(f"metered beyond one row, {clients} clients", value, spread=spread))
    value, spread = middle(p99)
    return [*found, Figure(f"p99 of a commit, {clients} clients, ms (in /metrics: mofang_commit_seconds)", value, spread=spread)]


def _parts(rounds: list[Spent]) -> str:
    """How the median round's time was split, in words."""
    one = sorted(rounds, key=lambda each: each.us(each.all_s))[len(rounds) // 2]
    threads = [f"{name} {one.us(took):.0f}" for name, took in sorted(one.by_thread.items()) if one.us(took) >= 2]
    return f" (in all {one.us(one.all_s):.0f}; system {one.us(one.system_s):.0f}; {', '.join(threads)})"


# rows


def rows(rounds: int, small: bool) -> list[Figure]:
    """Metering alone, without HTTP and model: answers handed to the meter with their Idempotency-Keys, committed in groups of what
    waits (up to 512), against one at a time on the same disk; the two take turns. Each row is a usage row with its chain, the
    debit, the idempotency row and the replay body. PostgreSQL is the embedded server on the same disk, fsync on."""
    found = []
    for name, goal, open_shop in (("SQLite", 15_000.0, _sqlite), ("PostgreSQL", 8_000.0, _postgres)):
        grouped, single = [], []
        with open_shop() as shop:
            for _ in range(rounds):
                grouped.append(_rows(shop, 1_000 if small else 30_000, WINDOW)[0])
                single.append(_rows(shop, 50 if small else 2_000, 1)[0])
        value, spread = middle(grouped)
        alone, _ = middle(single)
        found.append(Figure(f"{name}: rows a second, grouped (peer: one at a time)", value, alone, (">=", goal), value, spread))
    return found


@contextlib.contextmanager
def _sqlite() -> Iterator[Shop]:
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # the disk that the tree lies on, no memory
        yield stock(Path(folder) / "shop", USUAL)


@contextlib.contextmanager
def _postgres() -> Iterator[Shop]:
    import pgserver

    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        server = pgserver.get_server(Path(folder) / "pg")
        try:
            Shop.open(Path(folder) / "shop", database=server.get_uri())
            yield stock(Path(folder) / "shop", USUAL)
        finally:
            server.cleanup()


def _rows(shop: Shop, count: int, window: int) -> tuple[float, float]:
    """Rows a second, and the p99 of a commit in milliseconds, with so many on their way at a time."""
    account, price = customers(shop.control)[0].id, prices(shop.control)[0]
    one = Meter(shop.control.again())
    one.start()
    free, drawn = threading.Semaphore(window), threading.Event()
    wrong: list[Any] = []

    def done(outcome: Any) -> None:
        if getattr(outcome, "status", 0) != 200:
            wrong.append(outcome)
        free.release()

    micros = 5_000
    one.submit(Draw(account, micros * count, lambda _outcome: drawn.set()))
    drawn.wait(30)
    works = [Charge(new_id("req"), account, "key", "noop@1", "run_noop", 1, price, False, micros, ANSWER, done, new_id("k"), "d" * 32)
             for _ in range(count)]
    one.took.clear()
    began = time.perf_counter()
    for work in works:
        free.acquire()
        one.submit(work)
    for _ in range(window):
        free.acquire()
    seconds = time.perf_counter() - began
    commits = sorted(took for took, _ in one.took)
    one.close()
    assert not wrong, wrong[0]
    return count / seconds, commits[int(len(commits) * 0.99)] * 1000


PARTS = {"meter": meter, "rows": rows}
