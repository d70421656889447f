"""Kill -9 of serving processes under load, with clients that repeat what was not answered.

Every request has an Idempotency-Key of its own and is sent again with it until it is answered: by any of the servers, so
that the second attempt often meets what the first, killed on its way, may still be writing. Afterwards the units that
the journal bills must be the units that the clients count themselves, exactly.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._noop_server import stock

from mofang.core.identity import now_us
from mofang.core.journal import Journals
from mofang.core.shop import Shop
from mofang.trade.billing.balance import return_expired

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
    kills: Counter[str] = field(default_factory=Counter)  # by what was killed
    faults: list[str] = field(default_factory=list)


class Server:
    """The serving process; a parent that opens nothing forks another on the same port after each kill."""

    def __init__(self, path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.number = 0
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.parent = subprocess.Popen([sys.executable, "-m", "bench._noop_server", str(path), str(self.port), "again"],
                                       cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def start(self) -> None:
        """Wait until requests are answered."""
        assert self.parent.stdout is not None
        line = self.parent.stdout.readline()
        number, _, address = line.partition(" ")
        assert address.startswith("http://"), f"the server did not start: {line!r}"
        self.number = int(number)

    def kill(self) -> None:
        """The serving process ends where it stands."""
        os.kill(self.number, signal.SIGKILL)

    def stop(self) -> None:
        """As a supervisor ends it."""
        self.parent.send_signal(signal.SIGTERM)
        self.parent.wait(START_S)
        assert self.parent.stdout is not None
        self.parent.stdout.close()


def client(number: int, servers: Sequence[Server], token: str, over: threading.Event, count: Count, lock: threading.Lock) -> None:
    """Ask until it is over; repeat each request, at any server, until it is answered."""
    chance, at = random.Random(number), 0
    held: dict[int, http.client.HTTPConnection] = {}
    while not over.is_set():
        at += 1
        key = f"client-{number}-{at}"
        records = [{"text": "好" * chance.choice((1, 10, 1500))} for _ in range(chance.randint(1, 4))]
        body = json.dumps({"records": records}).encode()
        until = time.monotonic() + PATIENCE_S
        while (answer := attempt(held, chance.choice(servers).port, token, key, body)) is None or answer[0] in AGAIN:
            with lock:
                count.repeats += 1
            if time.monotonic() > until:
                count.faults.append(f"{key} was not answered in {PATIENCE_S} s")
                return
            time.sleep(0.02)
        status, told, replayed = answer
        if status != 200:
            count.faults.append(f"{status} {told.decode()}")
            return
        found: dict[str, Any] = json.loads(told)
        with lock:
            count.units[key] = sum(-(-len(record["text"]) // 1000) for record in records)
            count.answers[key] = found["request_id"]
            count.replays += replayed
            if found["units"] != count.units[key]:
                count.faults.append(f"{key}: {found['units']} units told, {count.units[key]} sent")


def attempt(held: dict[int, http.client.HTTPConnection], port: int, token: str, key: str, body: bytes) -> tuple[int, bytes, bool] | None:
    """One attempt over a kept connection: status, answer, whether it is a replay; None where the connection broke."""
    connection = held.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=20))
    try:
        connection.request("POST", "/v1/predict/noop", body, {"authorization": f"Bearer {token}", "idempotency-key": key})
        response = connection.getresponse()
        return response.status, response.read(), response.getheader("idempotent-replayed") == "true"
    except (OSError, http.client.HTTPException):
        held.pop(port).close()
        return None


class Cluster:
    """An embedded PostgreSQL whose processes can be killed; it starts again over the same files."""

    def __init__(self, folder: Path) -> None:
        import pgserver

        self.server = pgserver.get_server(folder)
        self.url: str = self.server.get_uri()

    def kill(self) -> None:
        """The postmaster dies at once, its children when they notice; then it starts again and recovers."""
        from pgserver._commands import pg_ctl

        data, lines = self.server.pgdata, (self.server.pgdata / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)
        (data / "postmaster.pid").unlink()  # where nobody reaps orphans the number looks alive; shared memory is looked at too
        until = time.monotonic() + START_S
        while True:
            time.sleep(0.05)
            try:
                pg_ctl(["-w", "-o", '-h ""', "-o", f"-k {lines[4]}", "-l", str(data / "log"), "start"], pgdata=data,
                       user=self.server.system_user, timeout=30)
                return
            except subprocess.SubprocessError:  # its children still hold the shared memory
                if time.monotonic() > until:
                    raise

    def kill_backend(self) -> None:
        """One process that works for a server dies, as when memory runs out: the postmaster ends all and starts them anew."""
        import psycopg

        with suppress(psycopg.Error, ProcessLookupError), psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("select pid from pg_stat_activity where backend_type='client backend' and pid<>pg_backend_pid() "
                                       "order by state_change desc nulls last limit 1").fetchone()
            if found:
                os.kill(found[0], signal.SIGKILL)

    def stop(self) -> None:
        """As an administrator stops it."""
        from pgserver._commands import pg_ctl

        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=self.server.pgdata, user=self.server.system_user, timeout=30)
        self.server.cleanup_mode = None


def postgres_kills(path: Path, times: int, seed: int = 0, servers: int = 2) -> tuple[Count, list[str]]:
    """The same over PostgreSQL; one kill in ten is the database's, half of these take the servers too, one in twenty a process of it."""
    cluster = Cluster(path.parent / "pg")
    try:
        Shop.open(path, database=cluster.url)
        return kills(path, times, seed, cluster, servers)
    finally:
        cluster.stop()


def kills(path: Path, times: int, seed: int = 0, cluster: Cluster | None = None, servers: int = 2) -> tuple[Count, list[str]]:
    """Kill one of the loaded servers so many times; the clients' count, and everything that differs from the books."""
    chance, count, lock, over = random.Random(seed), Count(), threading.Lock(), threading.Event()
    stock(path)
    running = [Server(path) for _ in range(servers)]
    for one in running:
        one.start()
    token = (path / "live").read_text()
    threads = [threading.Thread(target=client, args=(n, running, token, over, count, lock)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(times):
            time.sleep(0.05 + 0.25 * chance.random())
            count.kills[_kill(chance, running, cluster)] += 1
        time.sleep(0.3)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for one in running:
            one.stop()
    return count, count.faults + differences(Shop.open(path).journals, count)


def _kill(chance: random.Random, running: list[Server], cluster: Cluster | None) -> str:
    """Kill something and wait until it is back; what it was."""
    what = chance.random() if cluster is not None else 1.0
    if what < 0.1:
        assert cluster is not None
        gone = running if what < 0.05 else []
        for one in gone:
            one.kill()
        cluster.kill()
        for one in gone:
            one.start()
        return "database and servers" if gone else "database"
    if what < 0.15:
        assert cluster is not None
        cluster.kill_backend()
        return "process of the database"
    server = chance.choice(running)
    server.kill()
    server.start()
    return "server"


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
