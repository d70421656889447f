"""The long fault runs: simulated power cuts, kills of a server under load, workers killed every second for a minute.

make bench-faults; ARGS names parts (`power`, `kills`, `workers-sqlite`, `workers-postgres`), `--quick` makes all short,
`--power 1000 --kills 500 --seconds 60` are their lengths. The short ones run in `make test-cluster`. Exit status 1 where
anything acknowledged is lost or doubled, or a worker is not back within five seconds.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the trials themselves live with the tests

from tests.faults.killing import kills
from tests.faults.power import trial
from tests.faults.working import working

RESULTS = Path(__file__).resolve().parent / "results" / "faults.md"
LINES: list[str] = []
STEMS = {"power": "power cuts", "kills": "kill -9", "workers-sqlite": "workers, SQLite", "workers-postgres": "workers, PostgreSQL"}
PARTS = tuple(STEMS)


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


def workers(seconds: float, postgres: bool) -> bool:
    """A worker killed every second under load; True if each was back within five seconds and the books are right."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if postgres:
            import pgserver

            server = pgserver.get_server(Path(folder) / "pg")  # type: ignore[attr-defined]
            told, wrong = working(Path(folder), seconds, server.get_uri())
            server.cleanup()
        else:
            told, wrong = working(Path(folder), seconds)
    tell(f"workers, {'PostgreSQL' if postgres else 'SQLite'}  {told.line}  {'ok' if not wrong else 'short'}  "
         f"{time.monotonic() - began:.0f} s", wrong)
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], help="which of them (all)")
    parser.add_argument("--quick", action="store_true", help="all short: a minute and a half")
    parser.add_argument("--power", type=int, default=300, help="power cuts")
    parser.add_argument("--kills", type=int, default=200, help="kills under load")
    parser.add_argument("--seconds", type=float, default=60.0, help="of killing a worker each second")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the meter says at each cut that it cannot write
    ways: dict[str, Callable[[], bool]] = {
        "power": lambda: power(10 if given.quick else given.power), "kills": lambda: kill(10 if given.quick else given.kills),
        "workers-sqlite": lambda: workers(10 if given.quick else given.seconds, False),
        "workers-postgres": lambda: workers(10 if given.quick else given.seconds, True)}
    done = [ways[one]() for one in given.parts or PARTS]
    if not given.quick:
        write(given.parts or list(PARTS))
    return int(not all(done))


def write(parts: list[str]) -> None:
    """Put the lines of these parts into the results; those of other parts stay, and so does what is said below them."""
    RESULTS.parent.mkdir(exist_ok=True)
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    measured, heading, said = before.partition("\n## ")
    stems = [STEMS[one] for one in parts]
    kept = [line for line in measured.splitlines() if line.startswith("    ") and not line.strip().startswith(tuple(stems))]
    made = [f"    {line}  ({date.today()}, {os.cpu_count()} cores, {platform.system()} {platform.release()})" for line in LINES]
    lines = sorted([*kept, *made], key=lambda line: next((n for n, stem in enumerate(STEMS.values()) if line.strip().startswith(stem)), 9))
    RESULTS.write_text("# Faults\n\n`make bench-faults`\n\n" + "\n".join(lines) + "\n" + heading + said, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
