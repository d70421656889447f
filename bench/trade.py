"""Trade: what metering costs a request, how fast bills are made of ten million rows, what a lease check costs.

make bench-trade: ``ARGS="invoice trace --rounds 3"`` runs some parts, ``--quick`` a small run of each that says nothing about speed.
Writes bench/results/trade.md; a part that is not run keeps what it measured before.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent / "trade"
sys.path.insert(0, str(HERE))
from figures import Figure  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "trade.md"
KEPT = RESULTS.with_suffix(".json")
MODULES = ("invoice", "meter", "lease", "large")  # each holds PARTS: name → part
HEAD = ["| figure | value | least-most | peer | ratio | goal | |", "|---|---|---|---|---|---|---|"]
Part = Callable[[int, bool], list[Figure]]


def parts() -> dict[str, tuple[Part, str]]:
    """Every part by name, with what its module says of itself."""
    found: dict[str, tuple[Part, str]] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for part, run in module.PARTS.items():
            found[part] = (run, (run.__doc__ or "").strip())
    return found


def machine() -> str:
    """In one line, what it ran on."""
    return (f"{date.today()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
            f"load average when done {os.getloadavg()[0]:.1f}")


def write(measured: dict[str, list[Figure]], known: dict[str, tuple[Part, str]], rounds: int) -> None:
    """The table of this run beside what other parts measured before."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for name, figures in measured.items():
        kept[name] = {"about": known[name][1], "machine": f"{machine()}, rounds {rounds}", "rows": [one.row() for one in figures]}
    lines = ["# bench-trade", "", "Medians; `ratio` is value to peer. Each part says what it measured and on what.", ""]
    for name, told in sorted(kept.items()):
        lines += [f"## {name}", "", told["about"], "", f"Machine: {told['machine']}.", "", *HEAD, *told["rows"], ""]
    RESULTS.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


def main() -> int:
    """Run the parts that were named, or all."""
    known = parts()
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)} (default: all)")
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--quick", action="store_true", help="small, only to see that it works; writes nothing")
    asked = reader.parse_args()
    if wrong := set(asked.parts) - set(known):
        reader.error(f"there is no part {', '.join(sorted(wrong))}; there are: {', '.join(known)}")
    measured = {}
    for name in asked.parts or known:
        measured[name] = known[name][0](1 if asked.quick else asked.rounds, asked.quick)
        print(f"== {name}", *HEAD, *(one.row() for one in measured[name]), sep="\n", flush=True)
    if asked.quick or "MOFANG_BENCH_ROWS" in os.environ:  # figures of less than what the goals are about are not kept
        return 0
    write(measured, known, asked.rounds)
    return 0 if all(one.ok for figures in measured.values() for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
