"""The prediction path with a model that does nothing: key, quota, batch and durable charge, against peers without them.

make bench-serve: every arm is started, loaded and stopped in turn, several rounds, so that a busy moment of the machine
meets them all; the median round of each counts and the spread is printed. ARGS=--quick measures
Mofang alone in under a minute. Peers get an environment of their own below .peers/. One row per figure; exit status 1
where a goal is missed; the full run writes bench/results/serve.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers" / "serve"
PEER_PACKAGES = ("litserve==0.2.19", "fastapi==0.165.0", "uvicorn[standard]==0.54.0")
RESULTS = ROOT / "bench" / "results" / "serve.md"
CLIENTS = (32, 8, 1)
SECONDS = 2.0
READY_S = 90.0


@dataclass(frozen=True)
class Arm:
    """One server to load: its command (PORT is put in), the path, and whether requests carry a key each."""

    name: str
    command: tuple[str, ...]
    path: str
    unique: bool = False


@dataclass(frozen=True)
class Figure:
    """One row: our value, the peer's, their ratio and the goal for it (None: shown for information)."""

    name: str
    value: float
    peer: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer if self.peer else None

    @property
    def verdict(self) -> str:
        """``ok``, ``short``, or ``-`` where there is no goal or no peer."""
        if self.goal is None or self.ratio is None:
            return "-"
        return "ok" if self.ratio >= self.goal else "short"

    def row(self) -> tuple[str, ...]:
        peer = "-" if self.peer is None else f"{self.peer:,.1f}"
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        goal = "-" if self.goal is None else f">= {self.goal:g}"
        return self.name, f"{self.value:,.1f}", peer, ratio, goal, self.verdict


def own_arms(shop: Path) -> list[Arm]:
    command = (sys.executable, str(ROOT / "bench" / "_noop_server.py"), str(shop), "PORT")
    return [Arm("mofang", command, "/v1/predict/noop"), Arm("mofang+key", command, "/v1/predict/noop", unique=True)]


def peer_arms() -> list[Arm]:
    python = str(PEERS / "bin" / "python")
    return [Arm(name, (python, str(ROOT / "bench" / f"_peer_{name}.py"), "PORT"), "/predict")
            for name in ("fastapi", "litserve")]


def prepare_peers() -> None:
    """Make the peers' environment, once."""
    made = PEERS / "made.json"
    if made.exists() and json.loads(made.read_text()) == list(PEER_PACKAGES):
        return
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = str(PEERS / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS)], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PEER_PACKAGES], check=True, timeout=600)
    made.write_text(json.dumps(list(PEER_PACKAGES)))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def loaded(arm: Arm, key: str, rounds: dict[tuple[str, int], list[dict[str, float]]]) -> None:
    """Start a server, load it with each number of clients, stop it and whatever it started."""
    port = free_port()
    command = [str(port) if part == "PORT" else part for part in arm.command]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(port, server)
            for clients in CLIENTS:
                load = [sys.executable, str(ROOT / "bench" / "_load.py"), str(port), arm.path, str(clients),
                        str(SECONDS), key, str(int(arm.unique))]
                told = subprocess.run(load, capture_output=True, text=True, check=True, timeout=60)
                found = json.loads(told.stdout)
                assert found["others"] == 0, f"{arm.name}: {found['others']} answers were no 200"
                rounds.setdefault((arm.name, clients), []).append(found)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # LitServe's workers outlive it
            server.wait(10)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until the port answers HTTP, twice in a row."""
    until, well = time.monotonic() + READY_S, 0
    while time.monotonic() < until and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                probe.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                well = well + 1 if probe.recv(12).startswith(b"HTTP/1.1") else 0
        except OSError:
            well = 0
        if well == 2:
            return
        time.sleep(0.2)
    raise SystemExit(f"a server did not start: {server.args!r}")


def sync_ms(folder: Path) -> float:
    """The disk: the median time of appending 256 bytes durably, on which every commit waits."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 256)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def figures(rounds: dict[tuple[str, int], list[dict[str, float]]], disk_ms: float) -> list[Figure]:
    """The table; peers' columns stay empty where they were not run."""
    def of(arm: str, clients: int, what: str) -> float | None:
        found = [one[what] for one in rounds.get((arm, clients), [])]
        return statistics.median(found) if found else None

    rows: list[Figure] = []
    for clients in CLIENTS:
        for peer, name, goal in (("fastapi", "FastAPI def", 2.0), ("litserve", "LitServe", 4.0)):
            rows.append(Figure(f"requests/s, {clients} clients, metered; peer {name} unmetered",
                               of("mofang", clients, "rps") or 0.0, of(peer, clients, "rps"),
                               goal if clients == 32 else None))
        for what, name in (("p50_ms", "p50 ms"), ("p99_ms", "p99 ms")):
            rows.append(Figure(f"{name}, {clients} clients; peer FastAPI def", of("mofang", clients, what) or 0.0,
                               of("fastapi", clients, what)))
    with_key = of("mofang+key", 32, "rps") or 0.0
    rows.append(Figure("requests/s, 32 clients, an Idempotency-Key each; peer: none", with_key, of("mofang", 32, "rps")))
    return [*rows, Figure("fsync of 256 bytes on this disk, ms", disk_ms)]


def table(rows: list[Figure]) -> str:
    lines = [("figure", "value", "peer", "ratio", "goal", ""), *(row.row() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(6)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def spread(rounds: dict[tuple[str, int], list[dict[str, float]]]) -> str:
    """Least and most requests a second at 32 clients, arm by arm."""
    found = {arm: [one["rps"] for one in runs] for (arm, clients), runs in rounds.items() if clients == CLIENTS[0]}
    return "; ".join(f"{arm} {min(rates):,.0f}-{max(rates):,.0f}" for arm, rates in found.items())


def report(rows: list[Figure], rounds: int, spreads: str) -> str:
    """The page that is kept: the table with machine and versions."""
    head = "| figure | value | peer | ratio | goal | |\n|---|---|---|---|---|---|\n"
    body = "\n".join("| " + " | ".join(row.row()) + " |" for row in rows)
    own = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "orjson"))
    return f"""# bench-serve, {date.today()}

The path of a prediction with a model that does nothing. Mofang checks the key, reserves, batches and charges durably
(SQLite, WAL, synchronous=FULL); the peers do none of that. Median of {rounds} interleaved rounds of {SECONDS:g} s; server
and load client (bench/_load.py) share the processors.

Machine: {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; load average when done
{os.getloadavg()[0]:.1f}. Python {platform.python_version()}, {own}; peers {", ".join(PEER_PACKAGES)}.

{head}{body}

Requests/s at 32 clients, least to most of the rounds: {spreads}.
"""


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Mofang's own side only, under a minute")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rounds = 1 if given.quick else given.rounds
    if not given.quick:
        prepare_peers()
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder) / "shop"
        subprocess.run([sys.executable, str(ROOT / "bench" / "_noop_server.py"), str(shop)], check=True, timeout=60)
        key = (shop / "live").read_text()
        disk_ms = sync_ms(Path(folder))
        for _ in range(rounds):
            for arm in own_arms(shop) + ([] if given.quick else peer_arms()):
                loaded(arm, key, found)
    rows = figures(found, disk_ms)
    print(table(rows), f"requests/s at 32 clients, least to most: {spread(found)}", sep="\n")
    if not given.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report(rows, rounds, spread(found)), encoding="utf-8")
    return int(any(row.verdict == "short" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
