"""The supervisor with workers that are three lines long: what it hands on, what it refuses, how often it starts anew."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.web.handed_words import IDLE
from mofang.web.listening import listen
from mofang.web.supervisor import LOST_ANSWER, Supervisor

WORKER = """
import os, socket, sys, threading, time
from mofang.web.handed_words import BEGUN, IDLE, MESSAGE, READY, BEATS
import mmap
channel = socket.socket(fileno=int(sys.argv[1]))
board = mmap.mmap(int(sys.argv[2]), 65536)
channel.sendall(MESSAGE.pack(READY, 0))
def serve(slot, handle):
    handle.setblocking(True)
    while True:
        data = handle.recv(65536)
        if not data:
            channel.sendall(MESSAGE.pack(b'c', slot)); return
        board[slot] = BEGUN
        if b'/slow' in data: time.sleep(60)
        body = str(os.getpid()).encode()
        handle.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%s' % (len(body), body))
        board[slot] = IDLE
while True:
    data, handles, _, _ = socket.recv_fds(channel, MESSAGE.size, 1)
    if not data: break
    kind, slot = MESSAGE.unpack(data)
    threading.Thread(target=serve, args=(slot, socket.socket(fileno=handles[0])), daemon=True).start()
"""


class Running:
    """A supervisor in a thread; signals are told to it as the system would."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 2, worker: str = WORKER) -> None:
        script = folder / "worker.py"
        script.write_text(worker, encoding="utf-8")
        monkeypatch.setattr(signal, "signal", lambda number, handler: None)
        monkeypatch.setattr(signal, "set_wakeup_fd", lambda *_, **__: -1)
        bound = listen("127.0.0.1", 0)
        self.port = bound.getsockname()[1]
        came = threading.Event()
        admin = listen("127.0.0.1", 0)
        self.admin_port = admin.getsockname()[1]
        self.buried: list[int] = []
        self.supervisor = Supervisor(bound, count, lambda *handles: [sys.executable, str(script), *map(str, handles)], ready=came.set,
                                     admin=admin, buried=self.buried.append)
        self.thread = threading.Thread(target=self.supervisor.run, daemon=True)
        self.thread.start()
        assert came.wait(30)

    def until(self, ready: int) -> None:
        until = time.monotonic() + 30
        while sum(one.ready for one in self.supervisor.children) != ready and time.monotonic() < until:
            time.sleep(0.02)
        assert sum(one.ready for one in self.supervisor.children) == ready

    def gone(self, *workers: int) -> None:
        """Wait until these processes have ended and the supervisor knows."""
        until = time.monotonic() + 30
        while {one.process.pid for one in self.supervisor.children} & set(workers) and time.monotonic() < until:
            time.sleep(0.01)

    def settled(self, begun: int = 0) -> None:
        """Wait until all connections but so many are noted as idle: an answer is out a moment before that."""
        until = time.monotonic() + 30
        board, held = self.supervisor.board, self.supervisor.connections
        while sum(board[slot] != IDLE for slot in list(held)) > begun and time.monotonic() < until:
            time.sleep(0.005)

    def stop(self) -> None:
        self.supervisor._stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    made = Running(tmp_path, monkeypatch)
    yield made
    made.stop()


def ask(connection: http.client.HTTPConnection, path: str = "/") -> Any:
    connection.request("GET", path)
    return connection.getresponse()


def test_an_idle_connection_goes_on_and_a_begun_request_is_refused_in_words(running: Running) -> None:
    running.until(2)
    idle, busy = (http.client.HTTPConnection("127.0.0.1", running.port, timeout=30) for _ in range(2))
    held: dict[int, http.client.HTTPConnection] = {}
    for one in (idle, busy):
        held[int(ask(one).read())] = one
    assert len(held) == 2, "each worker has one"
    by = {id(one): pid for pid, one in held.items()}
    socket_of = idle.sock
    busy.request("GET", "/slow")
    time.sleep(0.3)
    for pid in held:
        os.kill(pid, signal.SIGKILL)
    answer = busy.getresponse()
    assert answer.status == 503 and b"worker-lost" in answer.read() and answer.getheader("retry-after") == "1"
    running.gone(*held)  # these workers note what came only after they have read it
    again = ask(idle)  # it waits for the next worker, on the same connection
    assert again.status == 200 and int(again.read()) not in by.values() and idle.sock is socket_of
    running.until(2)
    assert running.supervisor.restarts == 2
    for one in (idle, busy):
        one.close()


def test_the_refusal_is_whole_and_says_what_to_do() -> None:
    head, _, body = LOST_ANSWER.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head and b"Idempotency-Key" in body and head.startswith(b"HTTP/1.1 503 ")


def test_callers_wait_in_the_systems_queue_while_nobody_can_take_them(running: Running) -> None:
    running.until(2)
    for one in running.supervisor.children:
        one.ready = False  # as long as none is ready
    time.sleep(0.4)
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.3)
        for one in running.supervisor.children:
            one.ready = True
        assert caller.recv(100).startswith(b"HTTP/1.1 200")


def test_a_second_listener_is_handed_over_too_and_deaths_are_told(running: Running) -> None:
    running.until(2)
    there = http.client.HTTPConnection("127.0.0.1", running.admin_port, timeout=30)
    first = int(ask(there).read())
    assert first in {one.process.pid for one in running.supervisor.children}
    running.settled()
    for _ in range(3):  # a worker that was ready is replaced at once, however often
        killed = running.supervisor.children[0].process.pid
        os.kill(killed, signal.SIGKILL)
        running.gone(killed)
        running.until(2)
    assert running.supervisor.quick == 0 and len(running.buried) == len(running.supervisor.back_s) == 3
    assert ask(there).status == 200
    there.close()
