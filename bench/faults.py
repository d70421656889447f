"""The long fault runs: 300 simulated power cuts and 200 kills of a server under load.

make bench-faults; ARGS=--quick for 10 and 10, ARGS="--power 1000 --kills 0" for others. The short ones (30 and 20) run in
`make test-cluster`. Exit status 1 where anything acknowledged is lost or doubled.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the trials themselves live with the tests

from tests.faults.killing import kills
from tests.faults.power import trial

RESULTS = Path(__file__).resolve().parent / "results" / "faults.md"
LINES: list[str] = []


def tell(line: str, wrong: list[str]) -> None:
    """Print a line, and what was wrong below it; keep it for the report."""
    LINES.append(line)
    print(line, *wrong, sep="\n")


def power(seeds: int) -> bool:
    """So many simulated power cuts; True if nothing was lost."""
    memory = Path("/dev/shm")
    began, acknowledged, wrong = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for seed in range(seeds):
            count, found = trial(seed, Path(folder))
            acknowledged += count
            wrong += [f"seed {seed}: {one}" for one in found]
    tell(f"power cuts  {seeds}  acknowledged {acknowledged}  lost or damaged {len(wrong)}  "
          f"{'ok' if not wrong else 'short'}  {time.monotonic() - began:.0f} s", wrong)
    return not wrong


def kill(times: int) -> bool:
    """So many kills under load; True if billed is what the clients counted."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        count, wrong = kills(Path(folder) / "shop", times, seed=times)
    tell(f"kill -9  {times}  answered {len(count.units)}  units {sum(count.units.values())}  "
          f"repeated {count.repeats}  replayed {count.replays}  differences {len(wrong)}  "
          f"{'ok' if not wrong else 'short'}  "
          f"{time.monotonic() - began:.0f} s", wrong)
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 of each, under a minute")
    parser.add_argument("--power", type=int, default=300, help="power cuts")
    parser.add_argument("--kills", type=int, default=200, help="kills under load")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the meter says at each cut that it cannot write
    done = [power(10 if given.quick else given.power), kill(10 if given.quick else given.kills)]
    if not given.quick:
        told = f"# Faults\n\n`make bench-faults`, {date.today()}, {os.cpu_count()} cores, {platform.platform()}.\n\n"
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(told + "\n".join(f"    {line}" for line in LINES) + "\n", encoding="utf-8")
    return int(not all(done))


if __name__ == "__main__":
    sys.exit(main())
