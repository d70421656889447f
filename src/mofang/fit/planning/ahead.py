"""Before a run: how many CPU seconds and megabytes it will take here, and no where it would not fit."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.fit.family import Family
from mofang.fit.loop.machine import threads
from mofang.fit.planning import learnt
from mofang.fit.planning.memory import MB
from mofang.fit.planning.room import peak_mb, resident_mb, usable_mb
from mofang.fit.planning.sample import Sample, sample_of
from mofang.fit.planning.work import LIBRARIES, Work, work_of

if TYPE_CHECKING:
    from mofang.core.run import Run
    from mofang.core.shop import Shop

REFERENCE_RATE = 100e9  # float32 operations of one core second on the machine where the constants were measured
ALLOCATED, SCATTERED = 1.3, 0.25  # what the allocator holds for each byte of a step's tensors, and more after many steps
OWN_WAY_S = 0.15        # reading the rows, sealing the parts, the ledger


@dataclass(frozen=True)
class Prediction:
    """CPU and wall-clock seconds and peak megabytes of the process; ``load_s`` and ``base_mb`` are the fixed part of them
    (libraries that are not loaded yet, what the process holds), ``raw_s`` and ``raw_mb`` the work itself before ``factor``."""

    family: str
    raw_s: float
    load_s: float
    raw_mb: float
    base_mb: float
    held_mb: float
    factor: learnt.Factor
    work: Work

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the process and its children."""
        return self.load_s + self.raw_s * self.factor.seconds

    @property
    def wall_s(self) -> float:
        """Seconds on the clock where nothing else runs: products are shared among the threads."""
        return self.load_s + self.raw_s * self.factor.seconds / (threads() if "torch" in self.work.libraries else 1)

    @property
    def peak_mb(self) -> float:
        """The most that the process will hold, an earlier peak included."""
        return max(self.held_mb, self.base_mb + self.raw_mb * self.factor.memory)

    def measures(self) -> dict[str, Any]:
        """As the ledger keeps them beside what was used."""
        planned = {"family": self.family, "machine": learnt.this_machine(), "raw_s": round(self.raw_s, 3),
                   "load_s": round(self.load_s, 3), "raw_mb": round(self.raw_mb, 1), "base_mb": round(self.base_mb, 1),
                   "factor_s": self.factor.seconds, "factor_mb": self.factor.memory, "learnt_from": self.factor.runs}
        return {"predicted_s": round(self.cpu_s, 2), "predicted_mb": round(self.peak_mb, 1), "planned": planned}


def predict(shop: Shop, family: Family, sample: Sample) -> Prediction:
    """What training this family on such data will take, in this process."""
    return predicted(family.tag, work_of(family, sample), learnt.factor(shop, family.tag))


def predicted(family: str, work: Work, factor: learnt.Factor) -> Prediction:
    """Counted work on this machine."""
    from mofang.fit.estimate import machine_speed

    machine = machine_speed(None)
    missing = [LIBRARIES[name] for name in work.libraries if name not in sys.modules]
    load_s = sum(seconds for seconds, _ in missing) * machine.slowness
    rate = core_rate(machine.rate)
    raw_s = (OWN_WAY_S + work.plain_s) * machine.slowness + work.flops / (rate * work.share)
    base = resident_mb() + sum(mb for _, mb in missing)
    raw_mb = needed_mb(work)
    return Prediction(family, raw_s, load_s, raw_mb, base, peak_mb(), factor, work)


def needed_mb(work: Work) -> float:
    """Megabytes of the work itself: what is large is held as asked for, activations come and go in pieces."""
    loose = work.memory.get("activations", 0.0)
    held = ALLOCATED + SCATTERED * math.log2(1 + work.steps / 20)
    return (sum(work.memory.values()) + (held - 1) * loose) / MB


def core_rate(rate: float) -> float:
    """Operations of one core second, from the rate of all cores together."""
    import os

    return rate / max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def foresee(run: Run, snapshot: Artifact, family: Family) -> dict[str, Any]:
    """Before a training: the prediction as measures for the ledger; announced where it is long.

    Raises ``memory-too-small``, with what would fit, where the process would be killed for its memory.
    """
    sample = sample_of(snapshot)
    found = predict(run.shop, family, sample)
    require_room(found, family, sample)
    return found.measures()


def require_room(found: Prediction, family: Family, sample: Sample) -> None:
    """Refuse what will not fit."""
    limit = usable_mb()
    if limit is not None and found.peak_mb > max(limit, found.held_mb):
        fits = what_fits(found, family, sample, limit)
        raise MofangError("memory-too-small", needs_mb=round(found.peak_mb), has_mb=round(limit), fits=fits)


def what_fits(found: Prediction, family: Family, sample: Sample, limit: float) -> str:
    """A sentence with the least change of the settings that would fit into ``limit`` megabytes."""
    for words, other in smaller(family):
        work = work_of(other, sample)
        needs = found.base_mb + needed_mb(work) * found.factor.memory
        if needs <= limit:
            return say("With {words} it would need about {mb} MB.", "改用 {words} 约需 {mb} MB。", words=words, mb=round(needs))
    return say("No smaller setting of this family fits either: choose --family linear, or fewer rows.",
               "此模型族更小的设置也放不下：请选择 --family linear，或减少数据。")


def smaller(family: Family) -> Iterator[tuple[str, Family]]:
    """Settings that take less memory, from those that change the model least."""
    named = {one.name: getattr(family, one.name) for one in fields(family)}  # type: ignore[arg-type]
    for name, least in (("tokens", 256), ("batch", 8)):
        value = int(named.get(name, 0))
        while value // 2 >= least:
            value //= 2
            yield f"--family.{name} {value}", replace(family, **{name: value})  # type: ignore[type-var]
    if named.get("adapt") == "all":
        yield "--family.adapt lora", replace(family, adapt="lora")  # type: ignore[type-var]
    for name, least in (("width", 64), ("layers", 1), ("terms", 5000), ("vocabulary", 1000), ("max_length", 32)):
        value = int(named.get(name, 0))
        while value // 2 >= least:
            value //= 2
            kept = named.get("heads", 1)
            if name != "width" or value % kept == 0:
                yield f"--family.{name} {value}", replace(family, **{name: value})  # type: ignore[type-var]
