"""Start-up and ledger: what a person waits for before anything happens. ``make bench-core``; ARGS=--quick for fewer repeats.

Each figure is a median with its spread; a goal is an upper bound. There is no peer that does this work. Exit status 1
where a goal is missed. The full run writes bench/results/core.md.
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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "core.md"
REPEATS = 9

RECIPE = '''
from mofang.recipe import Budget, Shop, clean, collect, evaluate, export, package, select, snapshot

NAME = "toy"


def main(shop: Shop, budget: Budget):
    records = shop.run(collect, source="toy.csv", text=("text",), label="label", licence="own")
    data = shop.run(snapshot, shop.run(clean, records) / "kept", task="text_classification", label="label", inputs=("text",))
    graph = shop.run(export, shop.run(select, data, families=("linear",)))
    return shop.run(package, graph, shop.run(evaluate, graph, data / "test"), seconds=0.02)
'''


@dataclass(frozen=True)
class Figure:
    """A measured value with its bounds and the most it may be."""

    name: str
    values: list[float]
    goal: float

    def row(self) -> tuple[str, ...]:
        middle = statistics.median(self.values)
        spread = f"{min(self.values):.3f}-{max(self.values):.3f}"
        return self.name, f"{middle:.3f}", spread, "-", "-", f"<= {self.goal:g}", "ok" if middle <= self.goal else "short"


def cpu_of(command: list[str], cwd: Path, repeats: int) -> list[float]:
    """CPU seconds of a whole process, children included; one run first so that compiled modules are there."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for number in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return found


def wall_of(command: list[str], cwd: Path, repeats: int) -> list[float]:
    """Wall seconds of a whole process."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return found


def figures(folder: Path, repeats: int) -> list[Figure]:
    """All rows."""
    from mofang.core.shop import Shop

    mofang = [sys.executable, "-m", "mofang"]
    (folder / "toy.py").write_text(RECIPE, encoding="utf-8")
    lines = [f"第{n}号房间{'很好' if n % 2 else '很差'}下次{'还来' if n % 2 else '不来'},{'pos' if n % 2 else 'neg'}" for n in range(400)]
    (folder / "toy.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    subprocess.run([*mofang, "run", "toy.py"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shop = Shop.open(folder / "shop")
    return [
        Figure("mofang --help, CPU s", cpu_of([*mofang, "--help"], folder, repeats), 0.5),
        Figure("bare mofang, CPU s", cpu_of(mofang, folder, repeats), 0.5),
        Figure("unchanged recipe again, wall s", wall_of([*mofang, "run", "toy.py"], folder, repeats), 2.0),
        Figure("mofang predict, wall s", wall_of([*mofang, "predict", "toy", "房间很好"], folder, repeats), 2.0),
        Figure("durable ledger entry, ms", milliseconds(
            lambda: shop.ledger.append("decision", "bench", shop.actor, {"decision": "bench"}), 50 * repeats), 5.0),
    ]


def main() -> int:
    """Measure, print, and keep the full table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = figures(Path(folder), 3 if quick else REPEATS)
    rows = [("name", "median", "spread", "peer", "ratio", "goal", ""), *(one.row() for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table = "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ("---",) * len(rows[0]), *rows[1:]])
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {date.today()}"
        RESULTS.write_text(f"# Start-up and ledger\n\n`make bench-core` on {machine}.\n\n{table}\n", encoding="utf-8")
    return int(any(row[-1] == "short" for row in rows[1:]))


if __name__ == "__main__":
    sys.exit(main())
