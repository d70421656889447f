"""A load client: some connections, each sending its next request when it has its answer. Prints one JSON line.

python bench/_load.py PORT PATH CLIENTS SECONDS KEY UNIQUE: one thread, no library between it and the sockets, so that
it takes as little as possible of the processors that it shares with the server. With UNIQUE 1 each request carries a
fresh Idempotency-Key. LOAD_BODY in the environment stands in for the body.
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


class Client:
    """One connection with one request on its way."""

    __slots__ = ("begun_s", "received", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.wanted, self.begun_s = b"", 0, 0.0

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


def measure(port: int, path: str, clients: int, seconds: float, key: str, unique: bool) -> dict[str, float]:
    """Requests per second, latencies, and answers that were no 200."""
    head = (f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(BODY)}\r\n").encode()
    plain, stem, sent = head + b"\r\n" + BODY, f"{time.time_ns():x}-", 0
    selector = selectors.DefaultSelector()
    begun_s = time.perf_counter()
    latencies: list[float] = []
    others = 0
    for _ in range(clients):
        client = Client(port)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(head + f"idempotency-key: {stem}first{sent}\r\n\r\n".encode() + BODY if unique else plain)
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
            client.send(head + f"idempotency-key: {stem}{sent}\r\n\r\n".encode() + BODY if unique else plain)
    latencies.sort()
    return {"rps": len(latencies) / seconds, "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)], "others": others}


if __name__ == "__main__":
    port, path, clients, seconds, key, unique = sys.argv[1:7]
    print(json.dumps(measure(int(port), path, int(clients), float(seconds), key, unique == "1")))
