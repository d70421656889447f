"""The long fault runs: python -m bench.faults [power SEEDS | kill TIMES]; 300 power cuts and 200 kills without arguments.

The short ones (30 and 20) run in `make test-cluster`. Exit status 1 where anything acknowledged is lost or doubled.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.killing import kills
from tests.faults.power import trial


def power(seeds: int) -> bool:
    """So many simulated power cuts; True if nothing was lost."""
    memory = Path("/dev/shm")
    began, acknowledged, wrong = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for seed in range(seeds):
            count, found = trial(seed, Path(folder))
            acknowledged += count
            wrong += [f"seed {seed}: {one}" for one in found]
    print(f"power cuts  {seeds}  acknowledged {acknowledged}  lost or damaged {len(wrong)}  "
          f"{'ok' if not wrong else 'short'}  {time.monotonic() - began:.0f} s", *wrong, sep="\n")
    return not wrong


def kill(times: int) -> bool:
    """So many kills under load; True if billed is what the clients counted."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        count, wrong = kills(Path(folder) / "shop", times, seed=times)
    print(f"kill -9  {times}  answered {len(count.units)}  units {sum(count.units.values())}  repeated {count.repeats}  "
          f"replayed {count.replays}  differences {len(wrong)}  {'ok' if not wrong else 'short'}  "
          f"{time.monotonic() - began:.0f} s", *wrong, sep="\n")
    return not wrong


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # the meter says at each cut that it cannot write
    what, number = sys.argv[1:3] if len(sys.argv) > 2 else ("", "0")
    done = [power(int(number) or 300)] if what == "power" else [kill(int(number) or 200)] if what == "kill" else [
        power(300), kill(200)]
    sys.exit(not all(done))
