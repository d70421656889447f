"""Backup and restore of a busy shop while it goes on serving. ``make bench-backup``; ARGS=--quick for a twentieth of it.

A shop of 1,000,000 usage rows and 10,000 runs; a server in a process of its own answers 100 requests a second (a model
that does nothing: what is measured is the path); ``mofang backup`` and ``mofang restore`` run beside it as a person
types them. Every request must be answered and stand in the journal once. Exit status 1 where a goal is missed. The full
run writes bench/results/backup.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
RESULTS = ROOT / "bench" / "results" / "backup.md"
RATE, CLIENTS, QUIET_S = 100, 4, 10.0
BODY = json.dumps({"text": "这家酒店的服务很好，房间也很干净，下次还会来。"}).encode()


@dataclass
class Load:
    """So many requests a second over a few connections, each noted with its time, its latency and its answer."""

    port: int
    key: str
    seen: list[tuple[float, float, int, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def _client(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        gap_s, at = CLIENTS / RATE, 0
        next_s = time.perf_counter() + gap_s * number / CLIENTS
        while not self.over.is_set():
            time.sleep(max(0.0, next_s - time.perf_counter()))
            at += 1
            began = time.perf_counter()
            headers = {"authorization": f"Bearer {self.key}", "idempotency-key": f"bench-{number}-{at}"}
            connection.request("POST", "/v1/predict/noop", BODY, headers)
            response = connection.getresponse()
            told = json.loads(response.read())
            self.seen.append((began, time.perf_counter() - began, response.status, told.get("request_id", "") if response.status == 200 else told["error"]["code"]))
            next_s = max(next_s + gap_s, time.perf_counter() - 1.0)  # late requests are not saved up for ever

    def between(self, from_s: float, to_s: float) -> dict[str, float]:
        """Requests begun in a stretch: how many, and their latencies in milliseconds."""
        found = sorted(latency for began, latency, _, _ in self.seen if from_s <= began < to_s)
        return {"requests": len(found), "p50": 1000 * found[len(found) // 2], "p99": 1000 * found[int(len(found) * 0.99)],
                "max": 1000 * found[-1]}


def timed(*words: str) -> tuple[float, float, dict[str, Any]]:
    """Type a command with --json; when it began and ended, and what it told."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-m", "mofang", *words, "--json"], env=environment, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise SystemExit(f"mofang {' '.join(words)}: {done.stdout}{done.stderr}")
    return began, time.perf_counter(), json.loads(done.stdout)


def measure(folder: Path, usage: int, runs: int) -> list[tuple[str, str, str]]:
    """All rows: name, value, goal."""
    from bench._noop_server import stock
    from tests.many import make_many

    from mofang.core.shop import Shop

    make_many(folder / "shop", usage=usage, runs=runs)
    stock(folder / "shop", "5.00/1000")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    server = subprocess.Popen([sys.executable, "-m", "bench._noop_server", str(folder / "shop"), "0"], cwd=ROOT, env=environment,
                              stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    load = Load(int(server.stdout.readline().strip().rpartition(":")[2]), (folder / "shop" / "live").read_text())
    threads = load.start()
    try:
        time.sleep(1.0)
        quiet = time.perf_counter()
        time.sleep(QUIET_S)
        shop, kept = str(folder / "shop"), str(folder / "kept")
        first = timed("--shop", shop, "backup", kept)
        second = timed("--shop", shop, "backup", kept, "--quick")
        back = timed("restore", kept, "--at", Path(first[2]["place"]).name, "--into", str(folder / "again"))
    finally:
        load.over.set()
        for thread in threads:
            thread.join()
        server.terminate()
        server.wait(30)
        server.stdout.close()
    ids = [id for _, _, status, id in load.seen if status == 200]
    placed = Shop.open(folder / "shop")
    written = {row[0] for row in placed.control.rows("select id from journal where journal='usage' and at_us>?",
                                                     (int((time.time() - 3600) * 1e6),))}
    lost = len(load.seen) - len(ids) + len(set(ids) - written) + len(ids) - len(set(ids))
    refused = Counter(code for _, _, status, code in load.seen if status != 200)
    why = "".join(f" ({code} {count})" for code, count in refused.items())
    size = sum(path.stat().st_size for path in Path(first[2]["place"]).iterdir())
    backup_s, quick_s, restore_s = (end - begin for begin, end, _ in (first, second, back))
    before, during, restoring = load.between(quiet, quiet + QUIET_S), load.between(*first[:2]), load.between(*back[:2])

    def latency(one: dict[str, float]) -> str:
        return f"{one['p50']:.1f} / {one['p99']:.1f} / {one['max']:.0f}"

    return [
        ("usage rows, runs", f"{usage:,}, {runs:,}", ""),
        ("databases, MB", f"{size / 1e6:.0f}", ""),
        ("backup, every chain, table and file checked, s", f"{backup_s:.1f}", ""),
        ("restore, every digest and table compared, s", f"{restore_s:.1f}", ""),
        ("backup and restore, s", f"{backup_s + restore_s:.1f}", "<= 60"),
        ("second backup, --quick, s", f"{quick_s:.1f}", ""),
        ("writers kept waiting, ms", f"{max(first[2]['held_ms'], second[2]['held_ms']):.2f}", "<= 5"),
        ("restored digest-equal, tables", str(back[2]["tables"] if back[2]["equal"] else 0), ">= 16"),
        ("requests answered meanwhile", f"{len(ids):,}{why}", ""),
        ("requests lost, refused, or not in the journal once", str(lost), "<= 0"),
        ("p50 / p99 / worst before, ms", latency(before), ""),
        ("p50 / p99 / worst during backup, ms", latency(during), ""),
        ("p50 / p99 / worst during restore, ms", latency(restoring), ""),
    ]


def judged(value: str, goal: str) -> str:
    """ok or short, where there is a goal."""
    if not goal:
        return ""
    sign, bound = goal.split()
    found = float(value.replace(",", ""))
    return "ok" if (found <= float(bound) if sign == "<=" else found >= float(bound)) else "short"


def main() -> int:
    """Measure, print, and keep the full table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    folder = Path(tempfile.mkdtemp(prefix="mofang-bench-"))
    try:
        found = measure(folder, 50_000 if quick else 1_000_000, 500 if quick else 10_000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [("figure", "value", "goal", ""), *((name, value, goal, judged(value, goal)) for name, value, goal in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not quick:
        table = "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ("---",) * 4, *rows[1:]])
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {date.today()}"
        RESULTS.write_text(f"# Backup and restore while serving\n\n`make bench-backup` on {machine}; {RATE} requests a second "
                           f"from {CLIENTS} connections.\n\n{table}\n", encoding="utf-8")
    return int(any(row[3] == "short" for row in rows[1:]))


if __name__ == "__main__":
    sys.exit(main())
