"""Before a run: how many CPU seconds and megabytes it will take here, and no where it would not fit."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.fit.estimate import machine_speed
from mofang.fit.family import Family
from mofang.fit.loop.learning import Learning
from mofang.fit.loop.machine import threads
from mofang.fit.loop.probe import known_choices
from mofang.fit.planning import learnt
from mofang.fit.planning.memory import MB
from mofang.fit.planning.modules import KNOWN
from mofang.fit.planning.room import peak_mb, resident_mb, usable_mb
from mofang.fit.planning.sample import Sample, sample_of
from mofang.fit.planning.work import LIBRARIES, Terms, Work, pretraining, work_of

if TYPE_CHECKING:
    from mofang.core.run import Run
    from mofang.core.shop import Shop

ALLOCATED, SCATTERED = 1.3, 0.25  # what the allocator holds for each byte of a step's tensors, and more after many steps
NAMED = {"mlm": 0.15, "plm": 0.17, "nsp": 0.0}  # of a text's positions an objective asks for so many
OWN_WAY_S = 0.15  # reading the rows, sealing the parts, the ledger


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
        planned = {
            "family": self.family,
            "machine": learnt.this_machine(),
            "raw_s": round(self.raw_s, 3),
            "load_s": round(self.load_s, 3),
            "raw_mb": round(self.raw_mb, 1),
            "base_mb": round(self.base_mb, 1),
            "factor_s": self.factor.seconds,
            "factor_mb": self.factor.memory,
            "learnt_from": self.factor.runs,
        }
        return {"predicted_s": round(self.cpu_s, 2), "predicted_mb": round(self.peak_mb, 1), "planned": planned}


def predict(shop: Shop, family: Family, sample: Sample, terms: Terms | None = None) -> Prediction:
    """What training this family on such data will take, in this process."""
    found = work_of(family, sample, terms or terms_of(shop, None, None, 0))
    return predicted(shop, family.tag, found)


def predicted(shop: Shop, name: str, work: Work, spent_s: float = 0.0) -> Prediction:
    """Counted work on this machine, corrected by what earlier runs of the same name and precision took; ``spent_s`` are CPU
    seconds that the run has used already."""
    machine = machine_speed(None)
    told = f"{name}/bf16" if work.half else name
    missing = [LIBRARIES[library] for library in work.libraries if library not in sys.modules]
    load_s = spent_s + sum(seconds for seconds, _ in missing) * machine.slowness
    rate = core_rate(shop, work.half) or machine.core or machine.rate / cores()
    raw_s = (OWN_WAY_S + work.plain_s) * machine.slowness + work.flops / (rate * work.share)
    if work.seconds:
        raw_s = min(raw_s, work.seconds * threads())
    base = resident_mb() + sum(mb for _, mb in missing)
    return Prediction(told, raw_s, load_s, needed_mb(work), base, peak_mb(), learnt.factor(shop, told), work)


def terms_of(shop: Shop, learning: Learning | None, base: Path | None, folds: int, seconds: float = 0.0) -> Terms:
    """The settings of the loop as far as time and memory depend on them."""
    wanted = "auto" if learning is None else learning.precision
    half = wanted == "bf16" or (wanted == "auto" and _pays(shop))
    if learning is None:
        return Terms(base, half=half, folds=folds, seconds=seconds)
    return Terms(base, learning.optimizer.tag, half, 2 if learning.ema else 1, learning.steps, folds, seconds)


def _pays(shop: Shop) -> bool:
    """Whether the shop's probe of this machine chose bf16."""
    chosen = known_choices(shop)
    return chosen is not None and chosen.precision == "bf16"


def core_rate(shop: Shop, half: bool) -> float:
    """Operations of one core second as the shop's probe measured them; 0 where it has none."""
    chosen = known_choices(shop)
    return 0.0 if chosen is None else float(chosen.rates.get("bfloat16" if half else "float32", 0.0)) / threads()


def cores() -> int:
    """Cores that this process may use, whatever it is told to train with."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needed_mb(work: Work) -> float:
    """Megabytes of the work itself: what is large is held as asked for, activations come and go in pieces."""
    loose = work.memory.get("activations", 0.0)
    scattered = SCATTERED * math.log2(1 + work.steps / 20) if work.network is not None else 0.0  # batches of other lengths
    held = ALLOCATED + scattered
    return (sum(work.memory.values()) + (held - 1) * loose) / MB


def foresee(
    run: Run,
    snapshot: Artifact,
    family: Family,
    learning: Learning | None = None,
    base: Path | None = None,
    folds: int = 0,
    seconds: float = 0.0,
    part: float = 1.0,
) -> dict[str, Any]:
    """Before a training on this ``part`` of the training rows: the prediction as measures for the ledger, with the seconds that
    the family's own estimate says of it (0 where something else cuts it short).

    Raises ``memory-too-small``, with what would fit, where the process would be killed for its memory.
    """
    whole, terms = sample_of(snapshot), terms_of(run.shop, learning, base, folds, seconds)
    sample = replace(whole, size=replace(whole.size, rows=max(1, round(part * whole.size.rows))))
    found = predict(run.shop, family, sample, terms)
    require_room(found, lambda limit: what_fits(found, family, sample, terms, limit))
    measures = found.measures()
    if not (seconds or folds or terms.steps):
        measures["planned"]["told_s"] = round(family.estimate(sample.size).seconds(machine_speed(None).rate), 3)
    return measures


def foresee_pretraining(run: Run, config: Mapping[str, Any], spent_s: float = 0.0, **how: Any) -> dict[str, Any]:
    """The same for ``pretrain``; ``how`` is what ``work.pretraining`` takes."""
    if config.get("model_type") not in KNOWN:
        return {}
    terms = terms_of(run.shop, how.pop("learning", None), None, 0, how.pop("seconds", 0.0))
    found = predicted(run.shop, "pretrain", pretraining(config, terms=terms, **how), spent_s)
    require_room(
        found,
        lambda limit: say(
            "A smaller --architecture.size, --batch-tokens or --context would fit.",
            "请减小 --architecture.size、--batch-tokens 或 --context。",
        ),
    )
    return found.measures()


def foresee_preferring(run: Run, config: Mapping[str, Any], *, adapt: str, learnt_tokens: float, read_tokens: float,
                       positions: int, context: int, seconds: float = 0.0, spent_s: float = 0.0) -> dict[str, Any]:
    """The same for ``prefer``: ``learnt_tokens`` over all epochs, ``read_tokens`` by the reference and in validation, rows of
    ``context`` tokens in batches of ``positions``."""
    if config.get("model_type") not in KNOWN:
        return {}
    terms = terms_of(run.shop, None, None, 0, seconds)
    work = pretraining(config, steps=max(1.0, learnt_tokens / positions), positions=positions, context=context,
                       judged=read_tokens, tokens=read_tokens, terms=terms)
    found = predicted(run.shop, "prefer" if adapt == "all" else f"prefer/{adapt}", work, spent_s)
    require_room(found, lambda limit: say("A smaller --tokens or --adapt lora would fit.",
                                          "请减小 --tokens 或改用 --adapt lora。"))
    return found.measures()


def named_share(weights: Mapping[str, float]) -> float:
    """Share of positions that the objectives ask for, by their weights."""
    whole = sum(weights.values()) or 1.0
    return sum(weight * NAMED.get(name, 1.0) for name, weight in weights.items()) / whole


def require_room(found: Prediction, fits: Callable[[float], str]) -> None:
    """Refuse what will not fit; ``fits`` words what would."""
    limit = usable_mb()
    if limit is not None and found.peak_mb > max(limit, found.held_mb):
        raise MofangError("memory-too-small", needs_mb=round(found.peak_mb), has_mb=round(limit), fits=fits(limit))


def what_fits(found: Prediction, family: Family, sample: Sample, terms: Terms, limit: float) -> str:
    """A sentence with the least change of the settings that would fit into ``limit`` megabytes."""
    for words, other in smaller(family):
        work = work_of(other, sample, terms)
        needs = found.base_mb + needed_mb(work) * found.factor.memory
        if needs <= limit:
            return say(
                "With {words} it would need about {mb} MB.", "改用 {words} 约需 {mb} MB。", words=words, mb=round(needs)
            )
    return say(
        "No smaller setting of this family fits either: choose --family linear, or fewer rows.",
        "此模型族更小的设置也放不下：请选择 --family linear，或减少数据。",
    )


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
