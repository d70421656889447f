"""The serving path in four parts, each against peers with the same model in the same run, rounds interleaved.

make bench-serve [ARGS="PART … --rounds N --quick"]: ``noop`` (a model that does nothing: the path alone), ``encoder`` (6 x 384,
64 tokens: against FastAPI with torch, LitServe with the same int8 graph, and the engine alone), ``overload`` (ten times what can
be answered), ``memory`` (a serving process without a model). A round of a part takes about two minutes, so that `--rounds 2` and
then `--rounds 3 --more` stay near four each; figures are kept in .peers/, and the page bench/results/serve.md is written from all that are there. The median round counts and the spread is told.
Peers get environments of their own below .peers/; one that cannot be installed or does not start is named as missing.
``--quick`` measures Mofang alone. Exit status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _serve_arms import (
    CLIENTS,
    MODEL,
    PACKAGES,
    PEERS,
    SECONDS,
    Arm,
    encoder_arms,
    load,
    noop_arms,
    prepare_peers,
    resident_mb,
    started,
)

ROOT = Path(__file__).resolve().parents[1]
Rounds = dict[str, list[dict[str, float]]]
KEPT = PEERS / "serve-figures.json"
RESULTS = ROOT / "bench" / "results" / "serve.md"
FLOOD_S = 6.0
WARMING_S = 1.0  # what a server loads with its first requests is not measured


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


def loaded(arm: Arm, key: str, rounds: Rounds) -> None:
    """Start a server, load it with each number of clients, stop it; one that does not start is told."""
    try:
        with started(arm) as (port, _):
            load(arm, port, 4, key, WARMING_S)
            for clients in arm.clients:
                found = load(arm, port, clients, key)
                assert found["others"] == 0, f"{arm.name}: {found['others']} answers were no 200"
                rounds.setdefault(f"{arm.name} {clients}", []).append(found)
    except (OSError, AssertionError, SystemExit, subprocess.SubprocessError) as fault:
        if arm.name.startswith("mofang"):
            raise
        print(f"{arm.name}: {fault}", file=sys.stderr)


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


def median(rounds: Rounds, arm: str, what: str = "rps") -> float | None:
    """The median round's figure of an arm, None where it was not run."""
    found = [one[what] for one in rounds.get(arm, []) if what in one]
    return statistics.median(found) if found else None


def noop_figures(rounds: Rounds) -> list[Figure]:
    """A model that does nothing: ours metered, the peers not."""
    rows = []
    peers = ("fastapi", "litserve", "bentoml", "mlserver", "ray")
    for clients in CLIENTS:
        own = median(rounds, f"mofang {clients}") or 0.0
        for peer in peers:
            goal = {"litserve": 4.0}.get(peer, 2.0) if clients == 32 else None
            rows.append(Figure(f"noop: requests/s, {clients} clients, metered; peer {peer}", own, median(rounds, f"{peer} {clients}"), goal))
        for what in ("p50_ms", "p99_ms"):
            rows.append(Figure(f"noop: {what[:3]} ms, {clients} clients; peer fastapi", median(rounds, f"mofang {clients}", what) or 0.0,
                               median(rounds, f"fastapi {clients}", what)))
    rows.append(Figure("noop: requests/s, 32 clients, an Idempotency-Key each; peer: none",
                       median(rounds, "mofang+key 32") or 0.0, median(rounds, "mofang 32")))
    return [*rows, Figure("fsync of 256 bytes on this disk, ms", median(rounds, "disk", "sync_ms") or 0.0)]


def encoder_figures(rounds: Rounds) -> list[Figure]:
    """The encoder of 6 x 384 over 64 tokens."""
    best = max(("mofang-openvino", "mofang-onnx"), key=lambda arm: median(rounds, f"{arm} 32") or 0.0)
    lit = {clients: max((median(rounds, f"litserve-{batch} {clients}") or 0.0 for batch in (1, 32)), default=0.0) or None
           for clients in (32, 1)}
    own = {clients: max(median(rounds, f"mofang-onnx{how} {clients}") or 0.0 for how in ("", "-latency")) for clients in (32, 1)}
    torch_p99, own_p99 = median(rounds, "torch 32", "p99_ms"), median(rounds, f"{best} 32", "p99_ms")
    return [
        Figure(f"encoder: requests/s, 32 clients, {best}, metered; peer FastAPI + torch fp32", median(rounds, f"{best} 32") or 0.0,
               median(rounds, "torch 32"), 10.0),
        Figure("encoder: p99 of FastAPI + torch over ours (ms each), 32 clients", torch_p99 or 0.0, own_p99 if torch_p99 else None, 8.0),
        *(Figure(f"encoder: requests/s, {clients} clients, ONNX Runtime int8, metered; peer LitServe, same graph; each in its better setting",
                 own[clients], lit[clients], goal) for clients, goal in ((1, 2.0), (32, 1.3))),
        *(Figure(f"encoder: requests/s, 32 clients, {engine} int8; peer: the engine alone", median(rounds, f"mofang-{engine} 32") or 0.0,
                 median(rounds, f"alone-{engine}"), 0.92) for engine in ("openvino", "onnx"))]


def overload_figures(rounds: Rounds) -> list[Figure]:
    """Ten times what can be answered; the peer of each row is the same server at its capacity."""
    if "flood" not in rounds:
        return []
    full, flood = "capacity", "flood"
    return [
        Figure("overload: answered a second at 10 x capacity; peer: its capacity", median(rounds, flood) or 0.0, median(rounds, full), 0.85),
        Figure("overload: p99 at capacity over a third of p99 of the accepted", median(rounds, full, "p99_ms") or 0.0,
               (median(rounds, flood, "p99_ms") or 0.0) / 3, 1.0),
        Figure("overload: the same; peer: its capacity less what the load client took of the cores more", median(rounds, flood) or 0.0,
               _left(rounds)),
        Figure("overload: cores that the load client took, of all", median(rounds, flood, "load_cores") or 0.0, float(os.cpu_count() or 1)),
        Figure("overload: asked a second", median(rounds, flood, "asked") or 0.0),
        Figure("overload: refused with 429 a second", (median(rounds, flood, "429") or 0.0) / FLOOD_S),
        Figure("overload: neither 200 nor 429", (median(rounds, flood, "others") or 0.0) + (median(rounds, flood, "503") or 0.0)
               + (median(rounds, flood, "unanswered") or 0.0)),
        Figure("overload: memory before over after, MB", median(rounds, flood, "before_mb") or 0.0, median(rounds, flood, "after_mb"), 0.9)]


def _left(rounds: Rounds) -> float:
    """Capacity on the cores that the load client of the flood leaves."""
    taken = [median(rounds, arm, "load_cores") or 0.0 for arm in ("capacity", "flood")]
    cores = float(os.cpu_count() or 1)
    return (median(rounds, "capacity") or 0.0) * (cores - taken[1]) / (cores - taken[0])


def memory_figures(rounds: Rounds) -> list[Figure]:
    """Memory of everything that a server started, after some requests, without a model."""
    own = median(rounds, "memory mofang", "mb") or 0.0
    rows = [Figure(f"memory: {peer}, MB, all its processes; peer: mofang", median(rounds, f"memory {peer}", "mb") or 0.0, own or None, 1.0)
            for peer in ("litserve", "bentoml") if f"memory {peer}" in rounds]
    return [*rows, Figure("memory: 150 MB over mofang's", 150.0, own or None, 1.0)] if own else rows


def table(rows: list[Figure]) -> str:
    lines = [("figure", "value", "peer", "ratio", "goal", ""), *(row.row() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(6)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def spread(rounds: Rounds) -> str:
    """Least and most requests a second of the rounds, arm by arm."""
    found = {arm: [one["rps"] for one in runs if "rps" in one] for arm, runs in rounds.items()}
    return "; ".join(f"{arm} {min(rates):,.0f}-{max(rates):,.0f}" for arm, rates in found.items() if rates)


def report(rows: list[Figure], kept: dict[str, Any]) -> str:
    """The page that is kept: the table with machine and versions."""
    head = "| figure | value | peer | ratio | goal | |\n|---|---|---|---|---|---|\n"
    body = "\n".join("| " + " | ".join(row.row()) + " |" for row in rows)
    own = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "openvino"))
    peers = ", ".join(package for packages in PACKAGES.values() for package in packages)
    parts = "; ".join(f"{part}: {len(one['times'])} rounds, load average {one['times'][-1]['load']:.1f} when done"
                      for part, one in sorted(kept.items()))
    spreads = "\n\n".join(f"{part}: {spread(one['rounds'])}." for part, one in sorted(kept.items()))
    return f"""# bench-serve, {date.today()}

Mofang checks the key, reserves, batches and charges durably (SQLite, WAL, synchronous=FULL); the peers do none of that. The two
keyed digests that `mofang serve` adds to each usage row (7 microseconds) are left out, as in every earlier table. Medians of interleaved
rounds of {SECONDS:g} s; server and load client (bench/_load.py) share the processors. {parts}.

Machine: {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}. Python {platform.python_version()}, {own};
peers {peers}.

{head}{body}

Requests/s, least to most of the rounds. {spreads}
"""


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def run_noop(shop: Path, key: str, rounds: Rounds, alone: bool) -> None:
    rounds.setdefault("disk", []).append({"sync_ms": sync_ms(shop)})
    for arm in noop_arms(shop, alone):
        loaded(arm, key, rounds)


def run_encoder(shop: Path, key: str, rounds: Rounds, alone: bool) -> None:
    make_encoder()
    if not rounds:  # how the engines are arranged is found anew for each measurement
        for found in MODEL.glob("*-int8.json"):
            found.unlink()
    for engine in ("openvino", "onnx"):
        rounds.setdefault(f"alone-{engine}", []).append(engine_alone(engine))
    for arm in encoder_arms(shop, alone):
        loaded(arm, key, rounds)


def run_overload(shop: Path, key: str, rounds: Rounds, alone: bool) -> None:
    make_encoder()
    engine_alone("openvino")
    arm = encoder_arms(shop, True)[0]
    with started(arm) as (port, pid):
        full = load(arm, port, 32, key, 2 * SECONDS)
        rounds.setdefault("capacity", []).append(full)
        before = resident_mb(pid)
        flood = load(arm, port, 0, key, FLOOD_S, 10 * full["rps"])
        rounds.setdefault("flood", []).append({**flood, "before_mb": before, "after_mb": resident_mb(pid)})


def run_memory(shop: Path, key: str, rounds: Rounds, alone: bool) -> None:
    for arm in noop_arms(shop, alone):
        if arm.name in ("mofang", "litserve", "bentoml"):
            try:
                with started(arm) as (port, pid):
                    load(arm, port, 4, key, 1.0)
                    rounds.setdefault(f"memory {arm.name}", []).append({"mb": resident_mb(pid)})
            except (SystemExit, subprocess.SubprocessError) as fault:
                print(f"{arm.name}: {fault}", file=sys.stderr)


def make_encoder() -> None:
    """The model, once."""
    subprocess.run([sys.executable, str(ROOT / "bench" / "_encoder_model.py"), "make", str(MODEL)], check=True, timeout=600)


def engine_alone(engine: str) -> dict[str, float]:
    """The engine's records a second, by the arrangement that was found best."""
    command = [sys.executable, str(ROOT / "bench" / "_encoder_model.py"), "alone", str(MODEL), engine, "int8", str(SECONDS)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)
    return found


PARTS: dict[str, tuple[Callable[[Path, str, Rounds, bool], None], Callable[[Rounds], list[Figure]], tuple[str, ...]]] = {
    "noop": (run_noop, noop_figures, tuple(PACKAGES)), "encoder": (run_encoder, encoder_figures, ("serve",)),
    "overload": (run_overload, overload_figures, ()), "memory": (run_memory, memory_figures, ("serve", "serve-bentoml"))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts (default: all)")
    parser.add_argument("--quick", action="store_true", help="Mofang's own side only, one round; nothing is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", action="store_true", help="add rounds to those that are kept, instead of beginning anew")
    given = parser.parse_args()
    parts = given.parts or (["noop"] if given.quick else list(PARTS))
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    short = False
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder) / "shop"
        subprocess.run([sys.executable, str(ROOT / "bench" / "_noop_server.py"), str(shop)], check=True, timeout=60)
        key = (shop / "live").read_text()
        for part in parts:
            run, tell, places = PARTS[part]
            if not given.quick:
                prepare_peers(places)
            here = {"rounds": {}, "times": []} if given.quick or not given.more else kept.get(part, {"rounds": {}, "times": []})
            for _ in range(1 if given.quick else given.rounds):
                run(shop, key, here["rounds"], given.quick)
                here["times"].append({"at": time.time(), "load": os.getloadavg()[0]})
                if not given.quick:
                    kept[part] = here
                    PEERS.mkdir(exist_ok=True)
                    KEPT.write_text(json.dumps(kept))  # what was measured stays, if the next round is cut short
            rows = tell(here["rounds"])
            print(table(rows), spread(here["rounds"]), sep="\n")
            short |= any(row.verdict == "short" for row in rows)
    if not given.quick:
        every = [row for part, one in sorted(kept.items()) for row in PARTS[part][1](one["rounds"])]
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report(every, kept), encoding="utf-8")
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
