"""How long a run of a recipe will take on this machine: told before it is paid for, from the size of the data and a
probe of under half a second."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mofang.core.canonical import write_durably
from mofang.core.errors import MofangError
from mofang.core.money import format_micros
from mofang.data.finding import Finding
from mofang.fit.family import Family
from mofang.fit.loop.machine import multiply_rate, threads
from mofang.fit.size import Size

PROBE_FORMAT = 1
PROBE_KEPT_S = 7 * 86_400.0
REFERENCE_LOOP_S = 0.016   # what the plain loop below takes on the machine where the constants were measured
TRAIN_SHARE = 0.8

# Seconds of each step there, beside the search: fixed, for each thousand rows, for each million characters or values.
START_S = 3.0              # the process, the libraries, the shop
COLLECT = (0.05, 0.012, 0.03)
CLEAN = (0.1, 0.02, 0.5)
DECODE = 0.02              # for each million pixels of a picture; cleaning and each candidate decode all of them
SNAPSHOT = (0.1, 0.006, 0.01)
EXPORT_S = 1.0
EVALUATE = (0.6, 0.02, 0.05)
PACKAGE_S = 5.0
REFUSED_S = 2.5            # a pretrained model that does not know the language says so after loading
HEADROOM, FIRST_REACH = 4.0, 10.0  # as in select.py


@dataclass(frozen=True)
class Machine:
    """What the probe found: floating-point operations a second, and how much slower than the reference plain code
    runs."""

    rate: float
    slowness: float


@dataclass(frozen=True)
class RunEstimate:
    """Wall-clock seconds of a whole run, those of its steps, and whether the budget ends the search; ``tried`` are the
    kinds of model that it will reach."""

    seconds: float
    steps: dict[str, float] = field(default_factory=dict)
    binds: bool = False
    tried: tuple[str, ...] = ()

    def to_dict(self, rates: Mapping[str, Any], currency: str) -> dict[str, Any]:
        """As JSON, with the money in micros and in words, or None where no rate is set."""
        hour = rates.get("machine_hour_micros")
        micros = None if hour is None else round(self.seconds * hour / 3600)
        return {
            "seconds": round(self.seconds, 1),
            "minutes": round(self.seconds / 60, 1),
            "binds": self.binds,
            "steps": {name: round(value, 1) for name, value in self.steps.items()},
            "tried": list(self.tried),
            "micros": micros,
            "money": None if micros is None else format_micros(max(micros // 10_000 * 10_000, 10_000), currency),
        }


def estimate_run(finding: Finding, *, budget_s: float, cache: Path | None = None) -> RunEstimate:
    """What ``mofang run`` will take with this budget; ``cache`` is a folder that remembers the probe."""
    machine = machine_speed(cache)
    rows = float(max(finding.whole, finding.rows))
    usable = sum(count for _, count in finding.classes) / max(finding.rows, 1) * rows
    learnt = max(usable - finding.copies * rows / max(finding.rows, 1), 1.0)
    size = size_told(finding, round(TRAIN_SHARE * learnt))
    signs = rows * finding.length / 1e6
    pictures = finding.format == "images"
    decode_s = DECODE * finding.pixels * rows / 1e6 if pictures else 0.0
    plain = {
        "start": START_S,
        "collect": _step(COLLECT, rows, finding.bytes / 1e6 if pictures else signs),
        "clean": _step(CLEAN, rows, signs if finding.task == "text_classification" else 0.0) + decode_s,
        "snapshot": _step(SNAPSHOT, rows, signs),
        "evaluate": _step(EVALUATE, 0.1 * learnt, 0.1 * signs) + 0.1 * decode_s,
        "export": EXPORT_S,
        "package": PACKAGE_S,
    }
    steps = {name: seconds * machine.slowness for name, seconds in plain.items() if name != "package"}
    steps["package"] = PACKAGE_S
    search_s, tried, binds = search(finding.task, size, machine.rate, budget_s, TRAIN_SHARE * decode_s * machine.slowness)
    steps["select"] = search_s
    return RunEstimate(sum(steps.values()), steps, binds, tried)


def _step(constants: tuple[float, float, float], rows: float, millions: float) -> float:
    fixed, thousand, million = constants
    return fixed + thousand * rows / 1000 + million * millions


def size_told(finding: Finding, rows: int) -> Size:
    """The size of the training part, as ``size_of`` will find it."""
    language = ""
    rarest = min(count for _, count in finding.classes) / sum(count for _, count in finding.classes)
    if finding.task == "text_classification":
        language = "zh" if finding.languages[:1] and finding.languages[0] in ("zh", "ja", "th") else "en"
    return Size(rows, max(len(finding.classes), 2), max(finding.length, 1.0), language, rarest)


def search(task: str, size: Size, rate: float, budget_s: float, decode_s: float = 0.0) -> tuple[float, tuple[str, ...], bool]:
    """(seconds, kinds tried, whether the budget ends it) of ``select`` by its own rules: cheap to dear, what does not fit
    into what is left is passed over, the first is shortened to the budget."""
    from mofang.fit.tasks import candidates

    proposed = candidates(task, size)
    told = {family: family.estimate(size).seconds(rate) for family in proposed}
    left, spent, tried = budget_s, 0.0, []
    binds = False
    for family in sorted(proposed, key=lambda one: told[one]):
        first = not tried
        if told[family] > left * (FIRST_REACH if first else 1):
            binds = True
            continue
        if refuses(family, size):
            spent, left = spent + REFUSED_S, max(0.0, left - REFUSED_S)
            continue
        took = really(family, told[family]) + decode_s
        limit = left / 2 if first else left
        if first and told[family] * HEADROOM > left:
            took, limit = max(took, left), left
        elif took > limit:
            took = limit + (left - limit if first else 0.0)
        binds = binds or took >= limit
        took = min(took, left)
        tried.append(family.tag)
        spent, left = spent + took, max(0.0, left - took)
    return spent, tuple(tried), binds


SPENT: dict[str, Sequence[tuple[float, float]]] = {}


def really(family: Family, told_s: float) -> float:
    """Seconds that a family needs, from what its own estimate says; early stopping makes most of them shorter."""
    return told_s


def refuses(family: Family, size: Size) -> bool:
    """True if a pretrained encoder of English words would be asked to read Chinese."""
    return family.tag == "pretrained" and size.language == "zh"


def machine_speed(cache: Path | None) -> Machine:
    """How fast this machine is, measured in under half a second and remembered for a week."""
    place = (cache or user_cache()) / "machine.json"
    sign = [PROBE_FORMAT, threads(), os.cpu_count()]
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        if known["sign"] == sign and 0 <= time.time() - known["at"] < PROBE_KEPT_S:
            return Machine(float(known["rate"]), float(known["slowness"]))
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or of another version: measure
        pass
    found = Machine(multiply_rate(), plain_loop_s() / REFERENCE_LOOP_S)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, json.dumps({"sign": sign, "at": time.time(), "rate": found.rate, "slowness": found.slowness}).encode())
    except (OSError, MofangError):  # a cache that cannot be written costs the probe again
        pass
    return found


def user_cache() -> Path:
    """Where programs keep what they can measure again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mofang"


def plain_loop_s() -> float:
    """The best of five rounds of plain Python, so that a busy moment does not count."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        counts: dict[str, int] = {}
        for number in range(100_000):
            key = f"k{number % 1000}"
            counts[key] = counts.get(key, 0) + 1
        best = min(best, time.perf_counter() - began)
    return best
