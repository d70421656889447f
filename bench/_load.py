"""A load client: some connections, each sending its next request when it has its answer. Prints one JSON line.

python bench/_load.py PORT PATH CLIENTS SECONDS KEY UNIQUE [BODY [RATE]]: one thread, no library between it and the sockets, so that
it takes as little as possible of the processors that it shares with the server. With UNIQUE 1 each request carries a
fresh Idempotency-Key. With a RATE requests come at that rate whatever the answers do, over as many connections as that takes.
LOAD_BODY in the environment stands in for the body.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time

BODY = os.environ.get("LOAD_BODY", json.dumps({"text": "这家酒店的服务很好，房间也很干净，下次还会来。"})).encode()
WARM_S = 0.5
CONNECTIONS_MAX = 900  # that wait for an answer at a time


class Client:
    """One connection with one request on its way."""

    __slots__ = ("begun_s", "fresh", "received", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.wanted, self.begun_s, self.fresh = b"", 0, 0.0, True

    def send(self, request: bytes) -> None:
        self.begun_s = time.perf_counter()
        self.socket.send(request)

    def receive(self) -> bytes:
        """The status of an answer that is complete, else nothing."""
        self.received += self.socket.recv(65_536)
        if not self.wanted:
            head = self.received.find(b"\r\n\r\n")
            if head < 0:
                return b""
            at = self.received.lower().index(b"content-length:") + 15
            self.wanted = head + 4 + int(self.received[at : self.received.index(b"\r\n", at)])
        if len(self.received) < self.wanted:
            return b""
        status, self.received, self.wanted = self.received[9:12], b"", 0
        return status


def head_of(path: str, key: str, body: bytes) -> bytes:
    """The headers of a request, without the empty line at their end."""
    return (f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n").encode()


def measure(port: int, path: str, clients: int, seconds: float, key: str, unique: bool, body: bytes = BODY) -> dict[str, float]:
    """Requests per second, latencies, and answers that were no 200."""
    head = head_of(path, key, body)
    plain, stem, sent = head + b"\r\n" + body, f"{time.time_ns():x}-", 0
    selector = selectors.DefaultSelector()
    begun_s = time.perf_counter()
    latencies: list[float] = []
    others = 0
    for _ in range(clients):
        client = Client(port)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(head + f"idempotency-key: {stem}first{sent}\r\n\r\n".encode() + body if unique else plain)
        sent += 1
    while (now := time.perf_counter()) < begun_s + WARM_S + seconds:
        for known, _ in selector.select(1.0):
            client = known.data
            status = client.receive()
            if not status:
                continue
            others += status != b"200"
            if now > begun_s + WARM_S:
                latencies.append(time.perf_counter() - client.begun_s)
            sent += 1
            client.send(head + f"idempotency-key: {stem}{sent}\r\n\r\n".encode() + body if unique else plain)
    latencies.sort()
    return {"rps": len(latencies) / seconds, "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)], "others": others}


def flood(port: int, path: str, rate: float, seconds: float, key: str, body: bytes) -> dict[str, float]:
    """What becomes of requests that come at a rate: answered a second and how fast, refused, neither."""
    request = head_of(path, key, body) + b"\r\n" + body
    selector, free, busy = selectors.DefaultSelector(), [], 0
    told = {"200": 0, "429": 0, "503": 0, "others": 0}
    latencies: list[float] = []
    begun_s, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < begun_s + WARM_S + seconds or busy:
        if now > begun_s + WARM_S + seconds + 5:
            break
        while now < begun_s + WARM_S + seconds and sent < (now - begun_s) * rate and busy < CONNECTIONS_MAX:
            client = free.pop() if free else Client(port)
            if client.fresh:
                client.fresh = False
                selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(request)
            sent, busy = sent + 1, busy + 1
        for known, _ in selector.select(0.001):
            client = known.data
            status = client.receive().decode()
            if not status:
                continue
            busy -= 1
            free.append(client)
            if begun_s + WARM_S < client.begun_s:
                told[status if status in told else "others"] += 1
                if status == "200":
                    latencies.append(time.perf_counter() - client.begun_s)
    latencies.sort()
    at = latencies or [0.0]
    return {"rps": len(latencies) / seconds, "p50_ms": 1000 * at[len(at) // 2], "p99_ms": 1000 * at[int(len(at) * 0.99)],
            "asked": sent / (WARM_S + seconds), "unanswered": busy, **told}


if __name__ == "__main__":
    port, path, clients, seconds, key, unique = sys.argv[1:7]
    body = sys.argv[7].encode() if len(sys.argv) > 7 else BODY
    if len(sys.argv) > 8:
        print(json.dumps(flood(int(port), path, float(sys.argv[8]), float(seconds), key, body)))
    else:
        print(json.dumps(measure(int(port), path, int(clients), float(seconds), key, unique == "1", body)))
