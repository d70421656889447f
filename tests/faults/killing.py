"""Kill -9 of a serving process under load, with clients that repeat what was not answered.

Every request has an Idempotency-Key of its own and is sent again with it until it is answered. Afterwards the units
that the journal bills must be the units that the clients count themselves, exactly.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._noop_server import stock

from mofang.core.identity import now_us
from mofang.core.journal import Journals
from mofang.trade.balance import return_expired

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 6
START_S, PATIENCE_S = 60.0, 60.0
AGAIN = (409, 503)  # a good client waits and repeats these with the same key


@dataclass
class Count:
    """What the clients know: units by retry key, and how often they had to ask again."""

    units: dict[str, int] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    replays: int = 0
    faults: list[str] = field(default_factory=list)


class Server:
    """The serving process, started anew on the same port after each kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.process = subprocess.Popen([sys.executable, "-m", "bench._noop_server", str(self.path), str(self.port)],
                                        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # comes once requests are answered
        assert line.startswith("http://"), f"the server did not start: {line!r}"
        self.port = int(line.strip().rpartition(":")[2])

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        self.process.wait(START_S)
        self.process.stdout.close()


def client(number: int, server: Server, token: str, over: threading.Event, count: Count, lock: threading.Lock) -> None:
    """Ask until it is over; repeat each request until it is answered."""
    chance, at = random.Random(number), 0
    connection: http.client.HTTPConnection | None = None
    while not over.is_set():
        at += 1
        key = f"client-{number}-{at}"
        records = [{"text": "好" * chance.choice((1, 10, 1500))} for _ in range(chance.randint(1, 4))]
        body = json.dumps({"records": records}).encode()
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
                connection.request("POST", "/v1/predict/noop", body,
                                   {"authorization": f"Bearer {token}", "idempotency-key": key})
                response = connection.getresponse()
                told = response.read()
                if response.status == 200:
                    break
                if response.status not in AGAIN:
                    count.faults.append(f"{response.status} {told.decode()}")
                    return
            except (OSError, http.client.HTTPException):
                connection = None
            with lock:
                count.repeats += 1
            if time.monotonic() > until:
                count.faults.append(f"{key} was not answered in {PATIENCE_S} s")
                return
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(told)
        with lock:
            count.units[key] = sum(-(-len(record["text"]) // 1000) for record in records)
            count.answers[key] = found["request_id"]
            count.replays += response.getheader("idempotent-replayed") == "true"
            if found["units"] != count.units[key]:
                count.faults.append(f"{key}: {found['units']} units told, {count.units[key]} sent")


def kills(path: Path, times: int, seed: int = 0) -> tuple[Count, list[str]]:
    """Kill a loaded server so many times; the clients' count, and everything that differs from the books."""
    chance, count, lock, over = random.Random(seed), Count(), threading.Lock(), threading.Event()
    shop = stock(path)
    server = Server(path)
    server.start()
    token = (path / "live").read_text()
    threads = [threading.Thread(target=client, args=(n, server, token, over, count, lock)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in range(times):
        time.sleep(0.1 + 0.4 * chance.random())
        server.kill()
        server.start()
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join()
    server.stop()
    return count, count.faults + differences(shop.journals, count)


def differences(journals: Journals, count: Count) -> list[str]:
    """Where the books say something else than the clients."""
    rows = [row for row in journals.rows("usage") if row.kind == "use"]
    billed = {row.id: row.body["units"] for row in rows}
    wrong = journals.verify()
    if len(rows) != len(count.units):
        wrong.append(f"{len(rows)} usage rows for {len(count.units)} requests")
    wrong += [f"{key}: billed {billed.get(id)} units, used {count.units[key]}" for key, id in count.answers.items()
              if billed.get(id) != count.units[key]]
    total, rate = sum(billed.values()), rows[0].body["rate"]
    debited = journals.db.rows("select sum(micros) from usage_day")[0][0]
    if debited != total * rate // 10**6:
        wrong.append(f"{debited} micros debited for {total} units")
    return_expired(journals, now_us() + 10**12)
    if held := journals.db.rows("select coalesce(sum(micros), 0) from allotment")[0][0]:
        wrong.append(f"{held} micros stay set aside")
    return wrong
