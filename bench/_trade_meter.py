"""Parts of bench/trade.py about metering: what it costs a request, how many rows it writes, what kills leave behind."""

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
from pathlib import Path
from typing import Any

from _noop_server import USUAL, stock
from _trade import Figure, middle

from mofang.core.identity import new_id
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customers
from mofang.trade.pricing.prices import prices
from mofang.trade.request.commit import Charge, Draw
from mofang.trade.request.meter import Meter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ARMS = ("unmetered", "metered", "limited")
CLIENTS = (1, 32)
WINDOW = 512  # answers that wait for a commit at a time: what a busy server has on its way
ANSWER = json.dumps({"request_id": "req_0192d0c1-1111-7aaa-8bbb-cccccccccccc", "model": "noop@1", "units": 1, "price": "0.005",
                     "currency": "CNY", "test": False, "answer": {"label": "pos", "scores": {"neg": 0.25, "pos": 0.75}}}).encode()


# meter


def meter(rounds: int, small: bool) -> list[Figure]:
    """CPU time of the serving process per request (what it takes idle is taken off), with a fresh Idempotency-Key each, over HTTP on loopback; the arms take turns
    within each round. `metered`: key, allotment, idempotency, durable group commit, replay body; `limited`: rate, count and two
    budgets besides; against the same server without any of it. The load generator is a process of its own beside it."""
    took: dict[tuple[str, int], list[float]] = {(arm, clients): [] for arm in ARMS for clients in CLIENTS}
    p99: list[float] = []
    for _ in range(rounds):
        for clients in CLIENTS:
            for arm in ARMS:
                cpu_us, commit_ms = _serve(arm, clients, 0.7 if small else 4.0)
                took[arm, clients].append(cpu_us)
                if arm == "metered" and clients == 32:
                    p99.append(commit_ms)
    found = []
    for clients in CLIENTS:
        bare = took["unmetered", clients]
        found.append(Figure(f"unmetered, {clients} clients, µs CPU a request", *_spread(bare)))
        for arm in ARMS[1:]:
            added = [one - other for one, other in zip(took[arm, clients], bare, strict=True)]
            value, spread = middle(added)
            found.append(Figure(f"{arm} adds, {clients} clients, µs CPU a request", value, goal=("<=", 200.0), spread=spread))
    value, spread = middle(p99)
    return [*found, Figure("p99 of a commit, 32 clients, ms (in /metrics: mofang_commit_seconds)", value, spread=spread)]


def _spread(values: list[float]) -> tuple[Any, ...]:
    value, spread = middle(values)
    return value, None, None, None, spread


def _serve(arm: str, clients: int, seconds: float) -> tuple[float, float]:
    """Microseconds of CPU a request in one server's life, and the p99 of its commits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop"
        stock(path, USUAL)
        command = [sys.executable, str(HERE / "_trade_server.py"), str(path), "0", arm]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{HERE}"}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip().rpartition(":")[2]
            key = (path / "live").read_text()
            _load(port, clients, 0.3, key)
            idle = _cpu_s(server.pid)
            time.sleep(1.0)
            idle, before, began = _cpu_s(server.pid) - idle, _cpu_s(server.pid), time.monotonic()
            told = _load(port, clients, seconds, key)
            spent = _cpu_s(server.pid) - before - idle * (time.monotonic() - began)
            assert not told["others"], told
            commit_ms = _commit_p99(Path(folder) / "shop") if arm == "metered" and clients == 32 else 0.0
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    return spent / told["answered"] * 1e6, commit_ms


def _load(port: str, clients: int, seconds: float, key: str) -> dict[str, Any]:
    """The load generator counts what it measured, and answers of its first half second besides."""
    told = subprocess.run([sys.executable, str(HERE / "_load.py"), port, "/v1/predict/noop", str(clients), str(seconds), key, "1"],
                          check=True, stdout=subprocess.PIPE, timeout=seconds + 60).stdout
    found: dict[str, Any] = json.loads(told)
    found["answered"] = found["rps"] * (seconds + 0.5)
    return found


def _cpu_s(pid: int) -> float:
    """What a process has used of the processor, all its threads."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _commit_p99(path: Path) -> float:
    """By the distances in time of the rows' commits there is no telling; asked of the meter itself in a short run of its own."""
    shop = Shop.open(path)
    return _rows(shop, 2_000, 32)[1]


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


# faults


def faults(rounds: int, small: bool) -> list[Figure]:
    """500 times `kill -9` of the serving process under load, over SQLite, with clients that send an Idempotency-Key and repeat what
    was not answered (`--rounds` is ignored). Counted by the clients themselves: lost (answered, not billed), doubled (billed
    twice), other differences of the books; none may be."""
    return _killed("SQLite", 5 if small else 500, seed=500)


def faults_postgres(rounds: int, small: bool) -> list[Figure]:
    """The first half of the same over PostgreSQL: 250 kills, a tenth of them the database's own, half of those take both."""
    return _killed("PostgreSQL", 5 if small else 250, seed=1)


def faults_postgres_2(rounds: int, small: bool) -> list[Figure]:
    """The second half: 250 other kills over another PostgreSQL."""
    return _killed("PostgreSQL", 5 if small else 250, seed=2)


def _killed(name: str, times: int, seed: int) -> list[Figure]:
    sys.path.insert(0, str(ROOT))
    from tests.faults.killing import kills, postgres_kills

    with tempfile.TemporaryDirectory() as folder:
        count, wrong = (kills if name == "SQLite" else postgres_kills)(Path(folder) / "shop", times, seed=seed)
    for line in wrong[:20]:
        print(line)
    return [Figure(f"{name}: differences after {times} kills, {len(count.units):,} answered, {count.repeats:,} repeated, "
                   f"{count.replays:,} replayed", float(len(wrong)), goal=("<=", 0.0))]


PARTS = {"meter": meter, "rows": rows, "faults": faults, "faults-postgres": faults_postgres, "faults-postgres-2": faults_postgres_2}
