"""Under load: everybody gets their own answer, bad callers harm nobody, and too much is refused without harm to the rest."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import ANSWER, Noop, stock

from mofang.core.shop import Shop
from tests.web.serving import Fixed, Serving

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("load") / "sold")


def head(key: str, length: int, **more: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    return (f"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {length}\r\n{lines}\r\n").encode()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next answer on a connection."""
    top = await reader.readuntil(b"\r\n\r\n")
    length = int(top.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(top[9:12]), await reader.readexactly(length)


def files_at_least(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"only {hard} files may be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def crowd(port: int, key: str, connections: int, each: int) -> Counter[str]:
    """So many requests under way at once, each with a text of its own; what became of them."""
    async def one(number: int, told: Counter[str], door: asyncio.Semaphore) -> None:
        texts = [f"caller {number} question {n}" for n in range(each)]
        async with door:  # who has a connection also asks at once: headers have five seconds
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for text in texts:  # all are sent before the first answer is read
                body = json.dumps({"text": text}).encode()
                writer.write(head(key, len(body)) + body)
            await writer.drain()
        for text in texts:
            status, body = await answer_of(reader)
            told["own" if status == 200 and json.loads(body)["answer"]["label"] == text else f"{status} {body[:80]!r}"] += 1
        writer.close()

    async def all_of_them() -> Counter[str]:
        told: Counter[str] = Counter()
        door = asyncio.Semaphore(100)
        await asyncio.gather(*(one(number, told, door) for number in range(connections)))
        return told

    return asyncio.run(all_of_them())


def test_everybody_gets_their_own_answer(sold: Shop) -> None:
    """Batched answers handed to the wrong caller (lessons), several on each connection."""
    connections, each = 100, 5
    before = len(sold.journals.rows("usage"))
    echo = Fixed(lambda records: [{"label": record["text"]} for record in records])
    serving = Serving(sold, {"noop@1": echo}, queue_max=20_000, wait_max_s=120.0)
    try:
        told = crowd(serving.port, (sold.path / "live").read_text(), connections, each)
    finally:
        serving.stop()
    assert told == {"own": connections * each}
    assert sum(row.kind == "use" for row in sold.journals.rows("usage")[before:]) == connections * each


@pytest.mark.cluster
def test_ten_thousand_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    """10,000 connections, each with a request that nobody else asks; the model answers none before all of them wait."""
    count = 10_000
    files_at_least(count + 500)
    command = [sys.executable, str(ROOT / "tests" / "web" / "crowd_server.py"), str(tmp_path / "sold"), str(count)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                              env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"})
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().strip().rpartition(":")[2])
        told = crowd(port, (tmp_path / "sold" / "live").read_text(), count, 1)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert told == {"own": count} and int((tmp_path / "sold" / "at_once").read_text()) == count
    rows = [row.body for row in Shop.open(tmp_path / "sold", make=False).journals.rows("usage") if row.kind == "use"]
    assert len(rows) == len({row["request_id"] for row in rows}) == count and sum(row["units"] for row in rows) == count


# A server as a process of its own


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[int, int, str]]:
    """A server over a model that does nothing: its port, its process, a key."""
    place = tmp_path / "sold"
    command = [sys.executable, str(ROOT / "bench" / "_noop_server.py"), str(place)]
    subprocess.run(command, check=True, timeout=60)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    server = subprocess.Popen([*command, str(port)], stdout=subprocess.PIPE, cwd=ROOT)
    assert server.stdout is not None and server.stdout.readline().startswith(b"http")
    yield port, server.pid, (place / "live").read_text()
    server.send_signal(signal.SIGTERM)
    server.wait(30)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_server_without_a_model_stays_small(process: tuple[int, int, str]) -> None:
    port, pid, key = process
    told = crowd(port, key, 4, 5)
    assert sum(told.values()) == 20 and resident_mb(pid) < 150


def good_calls(port: int, key: str, seconds: float) -> tuple[list[float], int]:
    """One good caller after another for a while: latencies of the answered, and how many were not."""
    body = json.dumps({"text": "很好"}).encode()
    took, bad = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                one.sendall(head(key, len(body), connection="close") + body)
                bad += not one.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            bad += 1
        took.append(time.monotonic() - began)
    return sorted(took), bad


@pytest.mark.cluster
def test_slow_idle_and_huge_callers_harm_nobody(process: tuple[int, int, str]) -> None:
    """900 that drip their headers, 1,100 that say nothing, one with a body of 600 MB: trust.md 2.9."""
    files_at_least(4000)
    port, pid, key = process
    quiet, bad = good_calls(port, key, 3)
    assert bad == 0
    drips = [socket.create_connection(("127.0.0.1", port)) for _ in range(900)]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1100)]
    for one in drips:
        one.sendall(b"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nx-a: ")
        one.setblocking(False)
    code = (f"import socket\ns = socket.create_connection(('127.0.0.1', {port}))\n"
            f"s.sendall({head(key, 600 * MB)!r})\n"
            "try:\n    for _ in range(600): s.sendall(bytes(1 << 20))\nexcept OSError: pass")
    huge = subprocess.Popen([sys.executable, "-c", code])
    took, most_mb, until = [], 0.0, time.monotonic() + 6
    while time.monotonic() < until:
        some, wrong = good_calls(port, key, 0.25)
        took, bad, most_mb = took + some, bad + wrong, max(most_mb, resident_mb(pid))
        for one in drips:
            with suppress(OSError):
                one.send(b"a")
    huge.wait(60)
    for one in (*drips, *idle):
        one.close()
    took.sort()
    p99 = [times[int(len(times) * 0.99)] for times in (quiet, took)]
    assert bad == 0 and most_mb < 300, (bad, most_mb)
    assert p99[1] < 2 * max(p99[0], 0.010), f"p99 {p99[0] * 1000:.1f} ms became {p99[1] * 1000:.1f} ms"


def open_loop(port: int, key: str, rate: float, seconds: float) -> tuple[Counter[int], list[float]]:
    """Requests that come at a rate whatever the answers do: how many of each status, and the latencies of the answered."""
    body = json.dumps({"text": "很好"}).encode()
    request = head(key, len(body)) + body

    async def run() -> tuple[Counter[int], list[float]]:
        told: Counter[int] = Counter()
        took: list[float] = []
        free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def one() -> None:
            reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
            began = time.perf_counter()
            writer.write(request)
            status, _ = await answer_of(reader)
            if status == 200:
                took.append(time.perf_counter() - began)
            told[status] += 1
            free.append((reader, writer))

        began, sent, tasks = time.perf_counter(), 0, []
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * rate:
                tasks.append(asyncio.create_task(one()))
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
        for _, writer in free:
            writer.close()
        return told, took

    return asyncio.run(run())


def test_ten_times_too_much_is_refused_and_the_rest_answered_in_time(sold: Shop) -> None:
    """A model that answers 100 records a second; without a bound on waiting the last ones would wait 14 seconds."""
    model = Fixed(lambda records: time.sleep(0.01 * len(records)) or [ANSWER for _ in records])  # type: ignore[func-returns-value]
    serving = Serving(sold, {"noop@1": model}, wait_max_s=0.25)
    key = (sold.path / "test").read_text()
    try:
        told, took = open_loop(serving.port, key, 1000, 1.5)
        again = serving.predict(key)
    finally:
        serving.stop()
    took.sort()
    assert set(told) == {200, 429} and told[200] >= 0.6 * 100 * 1.5, told
    assert took[int(len(took) * 0.99)] < 4 and again.status == 200


def test_a_fault_that_nobody_foresaw_is_answered_in_words(sold: Shop) -> None:
    class Odd(Noop):
        def parse(self, body: object) -> Any:
            raise ZeroDivisionError("the customer's text")

    serving = Serving(sold, {"noop@1": Odd()})
    try:
        told = serving.predict((sold.path / "live").read_text())
    finally:
        serving.stop()
    assert (told.status, told.code) == (500, "server-fault") and b"customer's text" not in told.body
