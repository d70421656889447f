"""A load client: some connections, each sending its next request when it has its answer. Prints one JSON line.

python bench/_load.py PORT PATH CLIENTS SECONDS KEY UNIQUE [BODY [RATE]]: one thread, no library between it and the sockets, so that
it takes as little as possible of the processors that it shares with the server. With UNIQUE 1 each request carries a
fresh Idempotency-Key. With a RATE requests come at that rate whatever the answers do, over as many connections as that takes.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

BODY = json.dumps({"text": "这家酒店的服务很好，房间也很干净，下次还会来。"}).encode()
WARM_S = 0.5
TURN_S = 0.004          # in a flood, requests leave in such turns: a wake-up for each would take more than they do
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
        came = self.socket.recv(65_536)
        if not came:
            raise ConnectionError("the server hung up")
        came = self.received + came if self.received else came
        if not self.wanted:
            head = came.find(b"\r\n\r\n")
            if head < 0:
                self.received = came
                return b""
            at = came.find(b"\r\ncontent-length:", 0, head)
            at = at if at >= 0 else came[:head].lower().index(b"\r\ncontent-length:")
            self.wanted = head + 4 + int(came[at + 17 : came.index(b"\r\n", at + 17)])
        if len(came) < self.wanted:
            self.received = came
            return b""
        self.received, self.wanted = b"", 0
        return came[9:12]


def head_of(path: str, key: str, body: bytes) -> bytes:
    """The headers of a request, without the empty line at their end."""
    return (f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n").encode()


def measure(port: int, path: str, clients: int, seconds: float, key: str, unique: bool, body: bytes = BODY) -> dict[str, float]:
    """Requests per second, latencies, and answers that were no 200."""
    head = head_of(path, key, body)
    plain, stem, sent = head + b"\r\n" + body, f"{time.time_ns():x}-", 0
    ready, by_number = select.epoll(), {}
    begun_s = time.perf_counter()
    latencies: list[float] = []
    others = answered = 0
    for _ in range(clients):
        client = Client(port)
        ready.register(client.socket, select.EPOLLIN)
        by_number[client.socket.fileno()] = client
        client.send(head + f"idempotency-key: {stem}first{sent}\r\n\r\n".encode() + body if unique else plain)
        sent += 1
    while (now := time.perf_counter()) < begun_s + WARM_S + seconds:
        for number, _ in ready.poll(1.0):
            client = by_number[number]
            status = client.receive()
            if not status:
                continue
            others += status != b"200"
            answered += 1
            if now > begun_s + WARM_S:
                latencies.append(time.perf_counter() - client.begun_s)
            sent += 1
            client.send(head + f"idempotency-key: {stem}{sent}\r\n\r\n".encode() + body if unique else plain)
    latencies.sort()
    at = latencies or [seconds]
    return {"rps": len(latencies) / seconds, "p50_ms": 1000 * at[len(at) // 2], "p99_ms": 1000 * at[int(len(at) * 0.99)],
            "others": others, "answered": answered, "load_cores": time.process_time() / (WARM_S + seconds)}


def flood(port: int, path: str, rate: float, seconds: float, key: str, body: bytes) -> dict[str, float]:
    """What becomes of requests that come at a rate: answered a second and how fast, refused, neither."""
    request = head_of(path, key, body) + b"\r\n" + body
    ready, by_number, free, busy = select.epoll(), {}, [], 0
    told = {b"200": 0, b"429": 0, b"503": 0, b"others": 0}
    latencies: list[float] = []
    begun_s, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < begun_s + WARM_S + seconds or busy:
        if now > begun_s + WARM_S + seconds + 5:
            break
        while now < begun_s + WARM_S + seconds and sent < (now - begun_s) * rate and busy < CONNECTIONS_MAX:
            client = free.pop() if free else Client(port)
            if client.fresh:
                client.fresh = False
                ready.register(client.socket, select.EPOLLIN)
                by_number[client.socket.fileno()] = client
            client.send(request)
            sent, busy = sent + 1, busy + 1
        for number, _ in ready.poll(TURN_S):
            client = by_number[number]
            status = client.receive()
            if not status:
                continue
            busy -= 1
            free.append(client)
            if begun_s + WARM_S < client.begun_s:
                told[status if status in told else b"others"] += 1
                if status == b"200":
                    latencies.append(time.perf_counter() - client.begun_s)
    latencies.sort()
    at = latencies or [0.0]
    return {"rps": len(latencies) / seconds, "p50_ms": 1000 * at[len(at) // 2], "p99_ms": 1000 * at[int(len(at) * 0.99)],
            "asked": sent / (WARM_S + seconds), "unanswered": busy, "load_cores": time.process_time() / (time.perf_counter() - begun_s),
            **{name.decode(): count for name, count in told.items()}}


if __name__ == "__main__":
    port, path, clients, seconds, key, unique = sys.argv[1:7]
    body = sys.argv[7].encode() if len(sys.argv) > 7 else BODY
    if len(sys.argv) > 8:
        print(json.dumps(flood(int(port), path, float(sys.argv[8]), float(seconds), key, body)))
    else:
        print(json.dumps(measure(int(port), path, int(clients), float(seconds), key, unique == "1", body)))
