"""Connections with deadlines: half-sent requests are dropped, and good callers notice nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench._noop_server import Noop, stock

from mofang.web import protocol
from tests.web.serving import Serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(protocol, "HEADER_S", 0.5)
    monkeypatch.setattr(protocol, "BODY_CHECK_S", 0.5)
    serving = Serving(stock(tmp_path / "sold"), {"noop@1": Noop()})
    yield serving
    serving.stop()


def closed_after(connection: socket.socket, seconds: float) -> float:
    """How long it took until the server closed, or infinity."""
    connection.settimeout(seconds)
    began = time.monotonic()
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return float("inf")
    except OSError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("begin", [b"", b"POST /v1/pre", b"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nx-a: ",
                                   b"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"])
def test_a_half_sent_request_is_dropped(server: Serving, begin: bytes) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(begin)
    assert closed_after(connection, 5) < 3
    connection.close()


def test_dripping_does_not_keep_a_connection(server: Serving) -> None:
    """900 of these kept uvicorn busy for over 20 s: trust.md 2.9."""
    drips = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for connection in drips:
        connection.sendall(b"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nx-a: ")
    until, closed = time.monotonic() + 5, 0
    while time.monotonic() < until and closed < len(drips):
        assert server.call("GET", "/health").status == 200
        closed = 0
        for connection in drips:
            try:
                connection.sendall(b"a")
                connection.setblocking(False)
                closed += connection.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
            connection.setblocking(True)
        time.sleep(0.1)
    for connection in drips:
        connection.close()
    assert closed == len(drips)


def test_endless_headers_are_cut(server: Serving) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    sent = 0
    with pytest.raises(OSError):
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        while sent < 64 << 20:
            connection.sendall(b"x-a: " + b"a" * 1000 + b"\r\n")
            sent += 1007
    connection.close()
    assert sent < 16 << 20


def test_a_slow_but_steady_body_arrives(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "RATE_MIN", 20)
    key = (next(Path(path) for path in [server.desk.directory.db.path]).parent / "live").read_text()  # type: ignore[attr-defined]
    body = b'{"text":"' + b"a" * 100 + b'"}'
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
                       f"content-length: {len(body)}\r\n\r\n".encode())
    for start in range(0, len(body), 10):
        connection.sendall(body[start : start + 10])
        time.sleep(0.13)
    connection.settimeout(5)
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.close()


def test_nonsense_is_answered_in_json(server: Serving) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n")
    connection.settimeout(5)
    assert b'"code":"http-malformed"' in connection.recv(4096)
    connection.close()


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
                       b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    connection.settimeout(5)
    received = b""
    while piece := connection.recv(4096):
        received += piece
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]
    connection.close()
