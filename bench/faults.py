"""The long fault runs: power cuts, kills of servers under load, changed bytes, the books of trade, workers killed for a minute.

make bench-faults; ARGS names parts (`power`, `kills-sqlite`, `kills-postgres`, `bytes`, `accounts`, `replay`, `workers-sqlite`,
`workers-postgres`), `--quick` makes all short, `--power 1000 --kills 1000 --seconds 60` are their lengths. The short ones run in
`make test-cluster`. Exit status 1 where anything acknowledged is lost or doubled, or a worker is not back within five seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the trials themselves live with the tests

from tests.faults.flipping import KINDS, flips
from tests.faults.killing import kills, postgres_kills
from tests.faults.power import trial
from tests.faults.working import working

RESULTS = Path(__file__).resolve().parent / "results" / "faults.md"
LOTS = RESULTS.with_suffix(".jsonl")
LOT = 50
STEMS = {"power": "power cuts", "kills-sqlite": "kill -9, SQLite", "kills-postgres": "kill -9, PostgreSQL",
         "bytes": "a byte changed", "accounts": "state machine",
         "replay": "a day replayed", "workers-sqlite": "workers, SQLite", "workers-postgres": "workers, PostgreSQL"}
LINES: list[str] = []
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


def kill(part: str, times: int, small: bool) -> bool:
    """So many kills under load, in lots with a shop of their own; True if billed is what the clients counted in each."""
    postgres = part.endswith("postgres")

    def lot(seed: int, count: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            told, wrong = (postgres_kills if postgres else kills)(Path(folder) / "shop", count, seed=seed)
        return {"kills": dict(told.kills), "answered": len(told.units), "units": sum(told.units.values()), "repeated": told.repeats,
                "replayed": told.replays, "wrong": wrong}

    found = in_lots(part, times, lot, keep=not small)
    what: Counter[str] = Counter()
    for one in found:
        what.update(one["kills"])
    sums = {name: sum(one[name] for one in found) for name in ("answered", "units", "repeated", "replayed", "seconds")}
    wrong = [line for one in found for line in one["wrong"]]
    tell(f"{STEMS[part]}  {sum(what.values())} ({', '.join(f'{name} {count}' for name, count in sorted(what.items()))})  answered "
         f"{sums['answered']}  units {sums['units']}  repeated {sums['repeated']}  replayed {sums['replayed']}  differences {len(wrong)}  "
         f"{'ok' if not wrong else 'short'}  {sums['seconds']:.0f} s", wrong)
    return not wrong


def in_lots(part: str, total: int, run: Callable[[int, int], dict[str, Any]], keep: bool) -> list[dict[str, Any]]:
    """A long run in lots of fifty, each written down as it ends: what an interrupted run has done is not done again.

    A lot counts for as long as nothing of the product's source has changed; ``keep=False`` neither reads nor writes.
    """
    stamp, found = source(), []
    lines = [json.loads(line) for line in LOTS.read_text(encoding="utf-8").splitlines()] if keep and LOTS.exists() else []
    before = {one["seed"]: one for one in lines if one["part"] == part and one["source"] == stamp}
    for seed in range(-(-total // LOT)):
        count = min(LOT, total - seed * LOT)
        one = before.get(seed)
        if one is None or sum(one["kills"].values()) != count:
            began = time.monotonic()
            one = {"part": part, "seed": seed, **run(seed, count), "seconds": round(time.monotonic() - began, 1),
                   "load": round(os.getloadavg()[0], 1), "date": str(date.today()), "source": stamp}
            if keep:
                with LOTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(one) + "\n")
            print(f"{part}  lot {seed + 1} of {-(-total // LOT)}: {count}, {one['seconds']:.0f} s, wrong {len(one['wrong'])}", flush=True)
        found.append(one)
    return found


def source() -> str:
    """A short digest over the product's source."""
    made, folder = hashlib.sha256(), Path(__file__).resolve().parents[1] / "src"
    for path in sorted(folder.rglob("*.py")):
        made.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return made.hexdigest()[:12]


def flipped(places: int) -> bool:
    """So many bytes changed of each kind of file, one at a time; True if `mofang verify` sees every one."""
    well = True
    for kind in KINDS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            told = flips(Path(folder), kind, places, seed=places)
        how = ", ".join(f"{name} {count}" for name, count in sorted(told.by.items()) if name)
        tell(f"{STEMS['bytes']}, {kind}  places {told.holding}  {how}  not seen {len(told.missed)}  free space besides {told.nothing}  "
             f"{'ok' if not told.missed else 'short'}  {time.monotonic() - began:.0f} s", told.missed)
        well &= not told.missed
    return well


def accounts(examples: int) -> bool:
    """So many lives of the state machine over all of trade; True if the books balanced after every step of each."""
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test
    from tests.trade.test_proof_accounts import Trade

    began = time.monotonic()
    chosen = settings(max_examples=examples, stateful_step_count=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    wrong = []
    Trade.counted.clear()
    try:
        run_state_machine_as_test(Trade, settings=chosen)
    except AssertionError as fault:
        wrong = [str(fault)]
    tell(f"{STEMS['accounts']}  lives {examples}  books compared {Trade.counted['compared']} times  outcomes "
         f"{', '.join(f'{name} {count}' for name, count in sorted(Trade.counted.items()) if name != 'compared')}  differences "
         f"{len(wrong)}  {'ok' if not wrong else 'short'}  {time.monotonic() - began:.0f} s", wrong)
    return not wrong


def replayed(requests: int) -> bool:
    """A day of requests with real lengths in four currencies; True if each bill is their sum to the last micro."""
    from tests.trade.test_proof_replay import Day

    began, wrong, rows = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        day = Day(Path(folder) / "shop")
        over_http = min(500, requests // 10)
        day.over_http(over_http)
        day.through_the_meter(requests - over_http)
        try:
            rows = day.bill_and_compare()
        except AssertionError as fault:
            wrong = [str(fault)]
    tell(f"{STEMS['replay']}  requests {rows}, of them {over_http} over HTTP  tokens {sum(day.used.values())}  currencies {len(day.used)}  "
         f"differences {len(wrong)}  {'ok' if not wrong else 'short'}  {time.monotonic() - began:.0f} s", wrong)
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
    parser.add_argument("--kills", type=int, default=500, help="kills under load, of each database")
    parser.add_argument("--places", type=int, default=1000, help="bytes changed, of each kind of file")
    parser.add_argument("--lives", type=int, default=200, help="of the state machine")
    parser.add_argument("--seconds", type=float, default=60.0, help="of killing a worker each second")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the meter says at each cut that it cannot write
    ways: dict[str, Callable[[], bool]] = {
        "power": lambda: power(10 if given.quick else given.power),
        **{part: lambda part=part: kill(part, 10 if given.quick else given.kills, given.quick)  # type: ignore[misc]
           for part in ("kills-sqlite", "kills-postgres")},
        "bytes": lambda: flipped(20 if given.quick else given.places), "accounts": lambda: accounts(5 if given.quick else given.lives),
        "replay": lambda: replayed(2000 if given.quick else 100_000),
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
