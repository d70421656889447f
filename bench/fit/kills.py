"""50 random kills of trainings, one thread: final weights bit-equal to those of trainings that were never killed.

python bench/fit/kills.py; --kills 8 for a short one. Exit status 1 where a byte differs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the trial itself lives with the tests

from tests.faults.training import kills

RESULTS = Path(__file__).resolve().parents[1] / "results" / "kills.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        count = kills(Path(folder), given.kills, given.seed)
    line = (f"kill -9  {count.kills}  flipped bytes {count.flips}  trainings {count.trainings}  "
            f"differences {len(count.wrong)}  {'ok' if not count.wrong else 'short'}  {time.monotonic() - began:.0f} s")
    print(line, *count.wrong, sep="\n")
    if given.kills >= 50:
        machine = f"{date.today()}, {os.cpu_count()} cores, {platform.platform()}"
        head = f"# Killed trainings\n\n`python bench/fit/kills.py`, {machine}.\n\n"
        RESULTS.write_text(head + f"    {line}\n", encoding="utf-8")
    return int(bool(count.wrong))


if __name__ == "__main__":
    sys.exit(main())
