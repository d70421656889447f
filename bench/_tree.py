"""Memory of a process and everything it started, sampled while it runs: shared pages are counted once (PSS of Linux)."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.2
PROC = Path("/proc")


@dataclass
class Watched:
    """What a command took: seconds of wall clock, the tree's peak in MB, its exit code and what it printed last."""

    seconds: float
    peak_mb: float
    code: int
    said: str


def tree_of(root: int) -> list[int]:
    """The process and all below it that live now."""
    children: dict[int, list[int]] = {}
    for place in PROC.glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        children.setdefault(int(fields[1]), []).append(int(place.parent.name))
    found, waiting = [], [root]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def memory_mb(root: int) -> float:
    """Proportional set size of the whole tree in MB."""
    total = 0
    for process in tree_of(root):
        try:
            lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def watched(command: list[str], *, log: Path, cwd: Path | None = None, environment: dict[str, str] | None = None,
            limit_s: float = 3600) -> Watched:
    """Run a command to its end, or end it at the limit; what it prints goes to ``log``."""
    peak = [0.0]
    with log.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=subprocess.STDOUT)
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(EVERY_S):
                peak[0] = max(peak[0], memory_mb(process.pid))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        seconds = time.monotonic() - began
        stop.set()
        sampler.join()
    lines = log.read_text(errors="replace").strip().splitlines()
    return Watched(seconds, peak[0], code, lines[-1] if lines else "")
