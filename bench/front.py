"""The commands that are typed all day, over a shop with a million usage rows and ten thousand runs. ``make bench-front``.

Each figure is the median of whole processes: wall seconds beyond an empty Python, with the CPU seconds beside them,
since a wall clock also measures what else the machine does. The shop is made once by tests/many.py, in a minute;
ARGS=--quick makes a hundredth of it. ARGS="--shop FOLDER" takes one that is there. Exit status 1 where a goal is missed.
The full run writes bench/results/front.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "front.md"
REPEATS = 9
STATUS_S, LIST_S = 0.5, 0.2
LISTS = ("runs", "models", "customer", "key", "price", "invoice", "costs", "rates", "settings")


@dataclass(frozen=True)
class Figure:
    """A command's wall and CPU seconds, and the most its wall seconds may be."""

    name: str
    wall: list[float]
    cpu: list[float]
    goal: float | None

    def row(self) -> tuple[str, ...]:
        middle, spread = statistics.median(self.wall), f"{min(self.wall):.3f}-{max(self.wall):.3f}"
        verdict = "-" if self.goal is None else "ok" if middle <= self.goal else "short"
        goal = "-" if self.goal is None else f"<= {self.goal:g}"
        return self.name, f"{middle:.3f}", spread, f"{statistics.median(self.cpu):.3f}", goal, verdict


def measure(command: list[str], cwd: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of whole processes; one run first, so that compiled modules and counts are there."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(cwd / "cache")}
    wall, cpu = [], []
    for number in range(repeats + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
        ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:
            wall.append(ended - began)
            cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return wall, cpu


def figures(shop: Path, folder: Path, repeats: int) -> list[Figure]:
    """All rows. Commands take turns, so that a busy moment of the machine does not meet one of them alone."""
    mofang = [sys.executable, "-m", "mofang"]
    told = [*mofang, "--shop", str(shop)]
    began = time.perf_counter()
    subprocess.run(told, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT / "src"),
                   "XDG_CACHE_HOME": str(folder / "cache")})
    first = time.perf_counter() - began
    empty_wall, empty_cpu = measure([sys.executable, "-c", "pass"], folder, repeats)
    start, start_cpu = statistics.median(empty_wall), statistics.median(empty_cpu)
    found = [Figure("python -c pass", empty_wall, empty_cpu, None),
             Figure("mofang --help", *measure([*mofang, "--help"], folder, repeats), STATUS_S),
             Figure("mofang (first time over a new shop)", [first], [first], None),
             Figure("mofang", *measure(told, folder, repeats), STATUS_S)]
    for name in LISTS:
        wall, cpu = measure([*told, *name.split()], folder, repeats)
        found.append(Figure(f"mofang {name}, beyond python", [one - start for one in wall],
                            [one - start_cpu for one in cpu], LIST_S))
    return found


def main() -> int:
    """Measure, print, and keep the full table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shop", type=Path)
    given = parser.parse_args()
    usage, runs = (10_000, 1_000) if given.quick else (1_000_000, 10_000)
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.many import make_many

    with tempfile.TemporaryDirectory() as folder:
        shop, made = given.shop, ""
        if shop is None:
            began, shop = time.perf_counter(), Path(folder) / "shop"
            make_many(shop, usage, runs)
            made = f" (made in {time.perf_counter() - began:.0f} s)"
        found = figures(shop.resolve(), Path(folder), 3 if given.quick else REPEATS)
    rows = [("seconds", "wall", "spread", "CPU", "goal", ""), *(one.row() for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not given.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table = "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ("---",) * len(rows[0]), *rows[1:]])
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {date.today()}"
        RESULTS.write_text(f"# The front door over {usage:,} usage rows and {runs:,} runs\n\n`make bench-front` on {machine}{made}.\n\n"
                           f"{table}\n", encoding="utf-8")
    return int(any(row[-1] == "short" for row in rows[1:]))


if __name__ == "__main__":
    sys.exit(main())
