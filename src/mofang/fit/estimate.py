"""How long a run of a recipe will take on this machine: told before it is paid for, from the size of the data and a
probe of under half a second."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mofang.core.canonical import write_durably
from mofang.core.errors import MofangError
from mofang.core.money import format_micros
from mofang.data.firstlook.finding import Finding
from mofang.fit.family import Family
from mofang.fit.loop.machine import multiply_rate, threads
from mofang.fit.planning.stops import STOPS, terms_of
from mofang.fit.size import Size
from mofang.fit.unpacking import cache_home

PROBE_FORMAT = 2
PRODUCT_SIDE, PRODUCTS = 512, 20
PROBE_KEPT_S = 7 * 86_400.0
REFERENCE_LOOP_S = 0.015  # what the plain loop below takes on the machine where the constants were measured
TRAIN_SHARE = 0.8

# Seconds of each step there, beside the search: fixed, for each thousand rows, for each million characters or values.
START_S = 2.5  # the process, the libraries, the shop
COLLECT = (0.05, 0.02, 0.015)
CLEAN = {
    "text_classification": (0.1, 0.038, 0.27),
    "table_classification": (0.05, 0.011, 0.0),
    "image_classification": (0.1, 0.65, 0.0),
}
DECODE, GLANCE = 0.02, 0.004  # for each million pixels of a picture: each candidate decodes all, cleaning a small version
SNAPSHOT = (0.05, 0.007, 0.01)
EXPORT_S = 0.5
EVALUATE = (0.5, 0.1, 0.1)
PACKAGE_S = 4.5
REFUSED_S = 1.0  # a pretrained model that does not know the language says so after loading
TORCH_S = 2.5
TORCH = ("mlp", "resnet", "averaged", "rnn", "encoder", "pretrained", "blend")
LINEAR_TEXT = 1.3
TOKENS_A_CHARACTER = {"zh": 1.0, "en": 0.25}
HEADROOM, FIRST_REACH, FIRST_SHARE = 4.0, 10.0, 0.05  # as in select.py


@dataclass(frozen=True)
class Machine:
    """What the probe found: floating-point operations a second, how much slower than the reference plain code
    runs, and operations of one core in a second of its own time (whatever else the machine does)."""

    rate: float
    slowness: float
    core: float = 0.0


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


def estimate_run(
    finding: Finding, *, budget_s: float, cache: Path | None = None, paces: Mapping[str, float] | None = None
) -> RunEstimate:
    """What ``mofang run`` will take with this budget; ``cache`` is a folder that remembers the probe, ``paces`` are what the
    shop's runs taught of each kind of model (``planning.learnt``)."""
    machine = machine_speed(cache)
    rows = float(max(finding.whole, finding.rows))
    classes = finding.task in CLEAN
    labelled = sum(count for _, count in finding.classes) if classes else finding.rows - finding.unlabelled
    usable = labelled / max(finding.rows, 1) * rows
    learnt = max(usable - finding.copies * rows / max(finding.rows, 1), 1.0)
    size = size_told(finding, round(TRAIN_SHARE * learnt))
    signs = rows * finding.length / 1e6
    pictures = finding.format == "images"
    decode_s = DECODE * finding.pixels * rows / 1e6 if pictures else 0.0
    plain = {
        "start": START_S,
        "collect": _step(COLLECT, rows, finding.bytes / 1e6 if pictures else signs),
        "clean": _step(CLEAN[finding.task], rows, signs) + decode_s * GLANCE / DECODE if classes else 0.0,
        "snapshot": _step(SNAPSHOT, rows, signs),
        "evaluate": _step(EVALUATE, 0.1 * learnt, 0.1 * signs) + 0.1 * decode_s,
        "export": EXPORT_S,
        "package": PACKAGE_S,
    }
    steps = {name: seconds * machine.slowness for name, seconds in plain.items() if name != "package"}
    steps["package"] = PACKAGE_S
    search_s, tried, binds = search(finding.task, size, machine, budget_s, TRAIN_SHARE * decode_s * machine.slowness, paces or {})
    steps["select"] = search_s
    return RunEstimate(sum(steps.values()), steps, binds, tried)


def _step(constants: tuple[float, float, float], rows: float, millions: float) -> float:
    fixed, thousand, million = constants
    return fixed + thousand * rows / 1000 + million * millions


def size_told(finding: Finding, rows: int) -> Size:
    """The size of the training part, as ``size_of`` will find it."""
    language, rarest = "", 1.0
    if finding.task in CLEAN:
        rarest = min(count for _, count in finding.classes) / sum(count for _, count in finding.classes)
    if finding.inputs[0][1] == "text":
        language = "zh" if finding.languages[:1] and finding.languages[0] in ("zh", "ja", "th") else "en"
    return Size(rows, max(len(finding.classes), 2), max(finding.length, 1.0), language, rarest)


def search(
    task: str, size: Size, machine: Machine, budget_s: float, decode_s: float = 0.0, paces: Mapping[str, float] = MappingProxyType({})
) -> tuple[float, tuple[str, ...], bool]:
    """(seconds, kinds tried, whether the budget ends it) of ``select`` by its own rules: cheap to dear, what does not fit
    into what is left is passed over, the first is shortened to the budget."""
    from mofang.fit.curve import is_dear
    from mofang.fit.tasks import candidates

    proposed = candidates(task, size)
    told = {family: family.estimate(size).seconds(machine.rate) * paces.get(family.tag, 1.0) for family in proposed}
    if any(one.starts_ahead and is_dear(one, told[one], size, budget_s) for one in proposed):  # it gets all that is left
        early = [one for one in sorted(proposed, key=lambda one: told[one]) if told[one] <= FIRST_SHARE * budget_s]
        ahead = [one.tag for one in proposed if one.starts_ahead]
        return budget_s, tuple(dict.fromkeys([*(one.tag for one in early), *ahead])), True
    left, spent = budget_s, 0.0
    tried: list[str] = []
    binds = loaded = False
    for family in sorted(proposed, key=lambda one: told[one]):
        first = not tried
        if told[family] > left * (FIRST_REACH if first else 1):
            binds = True
            continue
        if refuses(family, size):
            spent, left = spent + REFUSED_S, max(0.0, left - REFUSED_S)
            continue
        took = (told[family] if family.tag in paces else really(family, size, machine)) + decode_s
        if family.tag in TORCH and not loaded:
            took, loaded = took + TORCH_S * machine.slowness, True
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


def really(family: Family, size: Size, machine: Machine) -> float:
    """Seconds that a family needs. Its own estimate plans for all passes; validation stops most trainings earlier, and
    the tables below say when that was on real data."""
    told = family.estimate(size)
    if family.tag == "linear" and size.language:
        return 0.3 * machine.slowness + LINEAR_TEXT * told.seconds(machine.rate)
    columns = 1 if size.classes == 2 else size.classes
    if family.tag == "linear":
        return (0.1 + 5e-6 * size.rows + 1.3e-7 * size.rows * size.length * columns) * machine.slowness
    if family.tag == "xgboost":
        rounds = min(getattr(family, "rounds", 500), 9 / getattr(family, "learning_rate", 0.1))
        return rounds * columns * (0.001 + 1.5e-8 * size.rows * size.length) * machine.slowness
    if family.tag not in STOPS:
        return told.seconds(machine.rate)
    best_steps, most, patience, share, planned_steps, least = STOPS[family.tag]
    row_tokens = min(size.length * TOKENS_A_CHARACTER.get(size.language, 1.0), getattr(family, "max_length", 160))
    batch = min(64.0, getattr(family, "tokens", 2048) / row_tokens) if family.tag in ("encoder", "pretrained") else 64.0
    steps = max(size.rows / batch, 1.0)
    planned = max(least, min(10 * least, planned_steps / steps))
    passes = min(planned, patience + min(max(best_steps / steps, 3.0), most))
    if family.tag == "mlp":
        return 0.0042 * passes * steps * machine.slowness
    if family.tag == "averaged":
        return _averaged_s(size, passes * steps) * machine.slowness
    shortened = replace(family, epochs=max(round(passes), 1)).estimate(size)  # type: ignore[type-var]
    return 1.0 + share * shortened.operations / machine.rate


def _averaged_s(size: Size, steps: float) -> float:
    """Each step updates the table of terms, which grows with the characters seen."""
    terms = min(terms_of(size), 150_000)
    return 0.5 + 1.5e-6 * size.rows * size.length + steps * (0.006 + 7e-9 * 64 * terms)


def refuses(family: Family, size: Size) -> bool:
    """True if a pretrained encoder of English words would be asked to read Chinese."""
    if family.tag != "pretrained" or size.language != "zh":
        return False
    return bool(getattr(family, "base", "") == getattr(type(family)(), "base", ""))


def machine_speed(cache: Path | None) -> Machine:
    """How fast this machine is, measured in under half a second and remembered for a week."""
    place = (cache or user_cache()) / "machine.json"
    sign = [PROBE_FORMAT, threads(), os.cpu_count()]
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        if known["sign"] == sign and 0 <= time.time() - known["at"] < PROBE_KEPT_S:
            return Machine(float(known["rate"]), float(known["slowness"]), float(known["core"]))
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or of another version: measure
        pass
    found = Machine(multiply_rate(), plain_loop_s() / REFERENCE_LOOP_S, core_rate())
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, json.dumps({"sign": sign, "at": time.time(), **asdict(found)}).encode())
    except (OSError, MofangError):  # a cache that cannot be written costs the probe again
        pass
    return found


def user_cache() -> Path:
    """Where programs keep what they can measure again."""
    return cache_home()


def core_rate() -> float:
    """Float32 operations of one core in a second of its own processor time; 0 where the library cannot be held to one."""
    import numpy as np

    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return 0.0
    left = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    best = float("inf")
    with threadpool_limits(1):
        for _ in range(PRODUCTS):
            began = time.thread_time()
            left @ left
            best = min(best, time.thread_time() - began)
    return 2 * PRODUCT_SIDE**3 / best


def plain_loop_s() -> float:
    """Processor seconds of plain Python, the best of five rounds: what others do at this moment does not count."""
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()
        counts: dict[str, int] = {}
        for number in range(100_000):
            key = f"k{number % 1000}"
            counts[key] = counts.get(key, 0) + 1
        best = min(best, time.thread_time() - began)
    return best
