"""What the ledger says of earlier predictions: how far they were off, and the factor that would have put them right."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mofang.core.memo import machine
from mofang.fit.loop.machine import threads

if TYPE_CHECKING:
    from mofang.core.shop import Shop

LOOKED, REMEMBERED = 500, 20  # entries that are read back, and runs of a family of which the median is taken
CLIP = 4.0
PRIOR_S, PRIOR_MB = 3.0, 80.0  # a small run says little: its ratio counts as if so much more had gone as foretold


@dataclass(frozen=True)
class Past:
    """One finished run that had been predicted: CPU seconds and peak megabytes, told and used.

    ``raw_s`` and ``raw_mb`` are what was foretold without any factor and beside what is fixed (``load_s``, ``base_mb``);
    ``told_s`` are the seconds on the clock of the family's own estimate, where nothing shortened the run, and ``wall_s`` those
    that it took.
    """

    family: str
    stage: str
    machine: str
    entry: str
    predicted_s: float
    used_s: float
    predicted_mb: float
    used_mb: float
    raw_s: float
    load_s: float
    raw_mb: float
    base_mb: float
    told_s: float = 0.0
    wall_s: float = 0.0

    @property
    def ratio_s(self) -> float:
        """How many times as long the work itself took as the plain formula said."""
        return (max(self.used_s - self.load_s, 0.0) + PRIOR_S) / (self.raw_s + PRIOR_S)

    @property
    def ratio_mb(self) -> float | None:
        """The same of memory; None where an earlier peak of the process hides the run's own."""
        return (self.used_mb - self.base_mb + PRIOR_MB) / (self.raw_mb + PRIOR_MB) if self.used_mb > self.base_mb else None


@dataclass(frozen=True)
class Factor:
    """What a prediction is multiplied with: medians over ``runs`` earlier runs of the family on this machine."""

    seconds: float = 1.0
    memory: float = 1.0
    runs: int = 0


def this_machine() -> str:
    """The machine and the threads that a factor is true for."""
    told = machine()
    return "/".join((told["machine"], told["processor"], told["cores"], str(threads())))


def past(shop: Shop) -> list[Past]:
    """The newest predicted runs of the shop, newest first. A repetition that was reused is none."""
    sql = "select id, body from entry where kind='done' and body like ? order by seq desc limit ?"
    found = []
    for id, body in shop.ledger.db.rows(sql, ('%"planned":{%', LOOKED)):
        told = json.loads(body)
        measures, own = told["measures"], told["cost"]["own"]
        planned = measures.get("planned") or {}
        if {"predicted_s", "predicted_mb"} <= measures.keys() and "raw_s" in planned:
            found.append(
                Past(
                    planned["family"],
                    told["stage"],
                    planned["machine"],
                    id,
                    measures["predicted_s"],
                    own["cpu_s"],
                    measures["predicted_mb"],
                    own["peak_mb"],
                    planned["raw_s"],
                    planned["load_s"],
                    planned["raw_mb"],
                    planned["base_mb"],
                    planned.get("told_s", 0.0),
                    own["wall_s"],
                )
            )
    return found


def factor(shop: Shop, family: str) -> Factor:
    """The median ratio of what was used to what was foretold, of this family on this machine."""
    here = this_machine()
    own = [one for one in past(shop) if one.family == family and one.machine == here][:REMEMBERED]
    if not own:
        return Factor()
    memory = [one.ratio_mb for one in own if one.ratio_mb is not None]
    return Factor(
        _clipped(statistics.median(one.ratio_s for one in own)),
        _clipped(statistics.median(memory)) if memory else 1.0,
        len(own),
    )


def paces(shop: Shop) -> dict[str, float]:
    """How many times as long as its own estimate each family's runs took on this machine, where there were any: the median of
    whole trainings, on the clock. ``select`` and ``new`` multiply their estimates with it.
    """
    here, found = this_machine(), dict[str, list[float]]()
    for one in past(shop):
        if one.told_s and one.machine == here:
            found.setdefault(one.family.partition("/")[0], []).append((one.wall_s + PRIOR_S) / (one.told_s + PRIOR_S))
    return {tag: _clipped(statistics.median(found[tag][:REMEMBERED])) for tag in sorted(found)}


def _clipped(ratio: float) -> float:
    return round(min(CLIP, max(1 / CLIP, ratio)), 3)


def accuracy(shop: Shop) -> list[dict[str, Any]]:
    """Predicted against measured, all families together and each: runs, median and worst error of time and memory."""
    groups: Mapping[str, list[Past]] = defaultdict(list)
    for one in past(shop):
        groups[one.family].append(one)
        groups[""].append(one)
    rows = []
    for family, runs in sorted(groups.items()):
        seconds = [abs(one.predicted_s - one.used_s) / max(one.used_s, 0.01) for one in runs]
        memory = [abs(one.predicted_mb - one.used_mb) / max(one.used_mb, 1.0) for one in runs]
        rows.append(
            {
                "family": family,
                "runs": len(runs),
                "median_s": round(statistics.median(seconds), 4),
                "worst_s": round(max(seconds), 4),
                "median_mb": round(statistics.median(memory), 4),
                "worst_mb": round(max(memory), 4),
            }
        )
    return rows
