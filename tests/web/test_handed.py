"""Workers as they are, killed at the moments that hurt: no caller is left waiting, whichever event loop reads."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mofang.web.handed_words import IDLE
from tests.web.test_supervisor import Running, ask

WORKER = """
import os, signal, sys
import uvicorn
from mofang.web import handed
from mofang.web.protocol import server_settings

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({{"type": f"lifespan.{{word}}.complete"}})
        return
    more = True
    while more:
        more = (await receive()).get("more_body")
    body = str(os.getpid()).encode()
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}})
    await send({{"type": "http.response.body", "body": body}})

received = handed.HandedProtocol.data_received
def dies(self, data):
    if b"/die" in data:  # read, and nothing of it noted yet: the very moment
        os.kill(os.getpid(), signal.SIGKILL)
    received(self, data)
handed.HandedProtocol.data_received = dies
worker = handed.Worker(uvicorn.Config(app, **server_settings(loop="{loop}")))
worker.channel = handed.Channel(int(sys.argv[1]), int(sys.argv[2]))
worker.run(sockets=[])
"""
Start = Callable[[str], Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    made: list[Running] = []

    def build(loop: str, count: int = 2) -> Running:
        made.append(Running(tmp_path, monkeypatch, count, WORKER.format(loop=loop)))
        made[-1].until(count)
        return made[-1]

    yield build
    for one in made:
        one.stop()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_bytes_that_a_dying_worker_has_read_are_answered_for(start: Start, loop: str) -> None:
    """Noted after the read, such a connection looked idle: the next worker waited for bytes that nobody had any more."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    running = start(loop)
    caller = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    first = int(ask(caller).read())
    running.settled()
    before_s = time.monotonic()
    answer = ask(caller, "/die")
    assert answer.status == 503 and b"worker-lost" in answer.read() and time.monotonic() - before_s < 5
    caller.close()
    running.gone(first)
    # and what it had not read goes on in another: stopped, asked, killed
    caller = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    second = int(ask(caller).read())
    running.settled()
    os.kill(second, signal.SIGSTOP)
    caller.request("GET", "/again")
    time.sleep(0.1)
    os.kill(second, signal.SIGKILL)
    answer = caller.getresponse()
    assert answer.status == 200 and int(answer.read()) not in (first, second)
    caller.close()


def test_a_refusal_reaches_who_still_sends(start: Start) -> None:
    """Closed over what still came, the connection was reset and the refusal lost on its way."""
    running = start("asyncio")
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6000000\r\n\r\n" + b"a" * 100_000)
        until = time.monotonic() + 10
        board = running.supervisor.board
        while all(board[slot] == IDLE for slot in list(running.supervisor.connections)) and time.monotonic() < until:
            time.sleep(0.005)
        slots = {slot: one for one in running.supervisor.children for slot in one.slots}
        os.kill(next(iter(slots.values())).process.pid, signal.SIGKILL)
        sender = threading.Thread(target=caller.sendall, args=(b"a" * 5_900_000,), daemon=True)
        time.sleep(0.5)  # it is refused already
        sender.start()
        sender.join(10)
        assert not sender.is_alive()
        said = b""
        while piece := caller.recv(65_536):
            said += piece
    assert said.startswith(b"HTTP/1.1 503 ") and b"worker-lost" in said
