"""Choose a family: from cheap to dear within a budget, the best on the validation part wins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from mofang.core.errors import MofangError, Pending
from mofang.core.language import say
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.records import RecordReader
from mofang.data.snapshot import Snapshot
from mofang.engine.task import read_columns
from mofang.fit.asking import weigh
from mofang.fit.curve import Curve, is_dear, longer, rung
from mofang.fit.family import Family
from mofang.fit.loop.deadline import deadline_in
from mofang.fit.loop.machine import multiply_rate
from mofang.fit.loop.probe import known_choices, probe
from mofang.fit.planning.learnt import paces
from mofang.fit.size import Size, size_of
from mofang.fit.tasks import candidates
from mofang.fit.train import Model, train

HEADROOM = 4.0  # a first candidate is trained whole where its estimate fits so often into the budget
FIRST_REACH = 10.0  # and tried at all up to an estimate of so many budgets
SHORTEST_S = 0.1
ANNOUNCED_S = 60.0  # a longer search is announced
RUNG_SHARE = 0.05  # of the budget, for the larger of the two parts of a curve
OVERRUN_SHARE = 0.3  # of the budget, that a network with a small estimate may take before dearer ones are looked at
STEADY = 1.5  # a network is trained without a limit where its estimate fits so often into what is left
EXPLORED_SHARE = 0.12  # of the budget, that each part of a curve may take
LIMIT_SHARE = 0.85  # of what is left, for a shortened training: its last validation comes on top
SHORTEST_SHARE = 0.04  # of its estimate: with less a shortened training would learn nothing
FIRST_SHARE = 0.05  # of the budget, that a network from nothing may be estimated at to come before a pretrained encoder
RACE_FROM_S, RACE_SHARE, RATED = 240.0, 0.07, 400  # pretrained encoders race for so much of the budget, rated on so many rows
AHEAD_SHARE = 0.9  # of what is left, for the one that won: its last verdict takes longer than a small network's
AHEAD_LEAST = 0.01  # as SHORTEST_SHARE, for an encoder that knows the language already
WEIGHED, WEIGHED_LEFT_S = 24, 10.0  # records asked to time an answer, where so much time is left


@stage(version=5, depends="machine")
def select(
    run: Run,
    snapshot: Snapshot,
    *,
    families: tuple[Family, ...] = (),
    budget_s: Annotated[float, Field(gt=0)] = 300.0,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> Model:
    """Train families from cheap to dear while the budget lasts and keep the one that validates best.

    A family whose estimate is larger than what is left is passed over, and one that does not suit the data is
    passed over with its reason; both stand in the table. A larger budget later reuses what was trained and
    goes on from there. An estimate is corrected by what earlier runs of the shop took on this machine. The first one is shortened to the budget where it would take longer, so that there is
    a model at the end. ``families`` names the candidates; left empty, the task proposes them.

    Where a pretrained encoder that reads the texts' language is installed, the machine is probed, and it comes after the cheapest
    families and before dear networks from nothing; of several each is given the same short time, and the rest goes to
    the one that reached most in it.

    Dear networks from nothing are first tried on two small parts of the training rows: the curve through both says what all
    rows would give, those that cannot reach the best model so far are stopped, and the most promising ones get the time,
    shortened to what is left. The table shows quality beside seconds, size and the time of one answer.
    """
    size = size_of(snapshot)
    rate = run.once("rate", multiply_rate)
    proposed = families or candidates(snapshot.read_json("about.json")["task"], size)
    learnt = run.once("paces", lambda: paces(run.shop))
    estimates = {one: one.estimate(size).seconds(rate) * learnt.get(one.tag, 1.0) for one in proposed}
    ordered = sorted(proposed, key=lambda family: estimates[family])
    expected_s = expected([estimates[family] for family in ordered], budget_s)
    if expected_s >= ANNOUNCED_S:
        run.announce(
            "Trying up to {kinds} kinds of model: about {minutes} min, at most {budget} min.",
            "最多尝试 {kinds} 种模型：约 {minutes} 分钟，至多 {budget} 分钟。",
            kinds=len(ordered),
            minutes=f"{expected_s / 60:.1f}",
            budget=f"{budget_s / 60:.1f}",
        )
    trial = Trial(run, snapshot, seed, budget_s, learnt)
    trial.search(ordered, estimates, size, rate)
    if not trial.models:
        trial.explain(ordered[0], estimates[ordered[0]])
    chosen = max(trial.models, key=lambda place: (trial.table[place]["validation"], -place))
    trial.table[chosen]["status"] = "chosen"
    run.measure(
        candidates=trial.table,
        chosen=trial.table[chosen]["family"],
        paces={family.tag: learnt[family.tag] for family in proposed if family.tag in learnt},
        budget_s=budget_s,
        metric=trial.table[chosen]["metric"],
        validation=trial.table[chosen]["validation"],
    )
    return trial.models[chosen]


def expected(estimates_s: Sequence[float], budget_s: float) -> float:
    """Seconds that a search will take, by the rules of ``Trial``, if every estimate (cheap to dear) holds."""
    left_s = budget_s
    for place, estimate_s in enumerate(estimates_s):
        if estimate_s <= left_s * (FIRST_REACH if place == 0 else 1):
            left_s -= min(left_s, estimate_s)
    return budget_s - left_s


class Trial:
    """The candidates tried so far: a row for each, the models that were trained, and what is left of the
    budget.
    """

    def __init__(self, run: Run, snapshot: Snapshot, seed: int, budget_s: float, learnt: Mapping[str, float]) -> None:
        self.run, self.snapshot, self.seed, self.budget_s = run, snapshot, seed, budget_s
        self.left_s, self.paces = budget_s, learnt
        self.table: list[dict[str, Any]] = []
        self.models: dict[int, Model] = {}
        self.refusals: list[MofangError] = []
        self.tried: set[Family] = set()

    def search(self, ordered: Sequence[Family], estimates: Mapping[Family, float], size: Size, rate: float) -> None:
        """Try the families, given from cheap to dear, in the order of the rules above."""
        later = [one for one in ordered if is_dear(one, estimates[one], size, self.budget_s)]
        ahead = [one for one in later if one.starts_ahead]
        if ahead:
            self.probe()
            most_s = FIRST_SHARE * self.budget_s
            later += [one for one in ordered if one.shortens and one not in later and estimates[one] > most_s]
        for family in ordered:
            if family not in later or not self.models:
                self.attempt(family, estimates[family])
        self.race([one for one in ahead if one not in self.tried], estimates)
        for family in later:
            if family not in self.tried and not is_dear(family, estimates[family], size, self.budget_s):
                self.attempt(family, estimates[family])
        promising = [self.explore(one, size, rate) for one in later if one not in self.tried]
        for curve in sorted((one for one in promising if one is not None), key=lambda one: -one.whole):
            self.pursue(curve)

    def attempt(self, family: Family, estimate_s: float) -> None:
        """Train one candidate if it fits into what is left; write down what happened.

        While there is no model yet, a candidate is tried although it seems too large, shortened to what is
        left: a budget buys a model unless the estimate is over it ten times.
        """
        self.tried.add(family)
        place, first = len(self.table), not self.models
        row: dict[str, Any] = {
            "family": family.tag,
            "settings": family.to_dict(),
            "estimate_s": round(estimate_s, 1),
        }
        self.table.append(row)
        reach_s = self.left_s * (FIRST_REACH if first else 1)
        if not self.run.once(f"take-{place}", lambda: estimate_s <= reach_s):
            row |= self._skipped(estimate_s)
            return
        whole = not first or estimate_s * HEADROOM <= self.left_s
        if whole:
            most_s = OVERRUN_SHARE * self.budget_s if family.shortens and not first else float("inf")
            self._train(f"spent-{place}", row, family, deadline_s=min(most_s, self.left_s / (2 if first else 1)))
        if first and (not whole or row["status"] == "stopped"):
            for name in ("code", "reason"):
                row.pop(name, None)
            row["limit_s"] = max(SHORTEST_S, round(self.left_s, 1))
            self._train(f"spent-short-{place}", row, family, limit_s=row["limit_s"])

    def probe(self) -> None:
        """Let the shop know what this machine does fastest, where it does not yet: a large network is worth it."""
        if self.run.once("probed", lambda: known_choices(self.run.shop) is not None):
            return
        began = time.monotonic()
        self.run.call(probe)
        seconds = self.run.once("probe-spent", lambda: round(time.monotonic() - began, 2))
        self.left_s = max(0.0, self.left_s - seconds)

    def race(self, ahead: Sequence[Family], estimates: Mapping[Family, float]) -> None:
        """Train a pretrained encoder for as long as is left; of several, the one that reaches most in the same short time.

        Where the budget is too small for a race the one with the smallest estimate is taken.
        """
        places: dict[Family, int] = {}
        for family in ahead:
            self.tried.add(family)
            places[family] = len(self.table)
            self.table.append({"family": family.tag, "settings": family.to_dict(), "estimate_s": round(estimates[family], 1)})
        reached: dict[Family, float] = {}
        for family in ahead if len(ahead) > 1 and self.budget_s >= RACE_FROM_S else ():
            row, seen = self.table[places[family]], dict[str, Any]()
            self._train(f"race-spent-{places[family]}", seen, family, limit_s=round(RACE_SHARE * self.budget_s, 1), rated=RATED,
                        kept=False)
            row["seconds"] = seen.pop("seconds")
            if "validation" in seen:
                reached[family] = row["raced"] = seen["validation"]
            else:
                row |= seen
        if not ahead or len(ahead) > 1 and self.budget_s >= RACE_FROM_S and not reached:
            return
        best = max(reached, key=lambda one: reached[one]) if reached else ahead[0]
        for family in ahead:
            row = self.table[places[family]]
            if family != best and "status" not in row:
                row |= {"status": "stopped", "code": "race", "reason": self._why_lost(row, reached.get(best))}
        self._pursue(best, places[best], estimates[best], AHEAD_SHARE, AHEAD_LEAST)

    @staticmethod
    def _why_lost(row: Mapping[str, Any], best: float | None) -> str:
        if best is None:
            return say("there is time for one pretrained encoder", "时间只够训练一个预训练编码器")
        return say("reaches {reached} where another reaches {best} in the same time", "相同时间内达到 {reached}，另一个达到 {best}",
                   reached=f"{row['raced']:.3f}", best=f"{best:.3f}")

    def explore(self, family: Family, size: Size, rate: float) -> Curve | None:
        """Train on two parts of the rows; None where there is no time for it or its curve stays below the best model."""
        self.tried.add(family)
        row: dict[str, Any] = {"family": family.tag, "settings": family.to_dict()}
        pace = self.paces.get(family.tag, 1.0)
        row["estimate_s"] = round(family.estimate(size).seconds(rate) * pace, 1)
        self.table.append(row)
        place = len(self.table) - 1
        if not self.run.once(f"take-{place}", lambda: self.left_s > RUNG_SHARE * self.budget_s):
            row |= self._skipped(row["estimate_s"])
            return None
        meant_s = min(RUNG_SHARE * self.budget_s, self.left_s / 3)
        tried = self.run.once(f"rung-{place}", lambda: rung(family, size, rate, meant_s / pace))
        points, spent = [], []
        for number, part in enumerate(tried):
            seen: dict[str, Any] = {}
            short = replace(family, epochs=Curve.epochs)  # type: ignore[type-var]
            self._train(f"rung-spent-{place}-{number}", seen, short, part=part,
                        deadline_s=min(self.left_s, EXPLORED_SHARE * self.budget_s), kept=False)
            spent.append(seen.pop("seconds"))
            row["seconds"] = round(row.get("seconds", 0.0) + spent[-1], 2)
            if "validation" not in seen:
                row |= seen
                return None
            points.append((part * size.rows, seen["validation"]))
        best = max(one["validation"] for one in self.table if one.get("status") == "trained")
        curve = Curve(family, place, tuple(points), size.rows, tuple(spent), longer(family, size, rate))
        row["curve"] = curve.to_dict()
        if curve.most <= best:
            row |= {
                "status": "stopped",
                "code": "curve",
                "reason": say("its learning curve ends near {whole}, {best} is reached", "学习曲线约止于 {whole}，已有 {best}",
                              whole=f"{curve.whole:.3f}", best=f"{best:.3f}"),
            }
            return None
        return curve

    def pursue(self, curve: Curve) -> None:
        """Train the family of a curve on all rows, shortened to what is left where that is less than it needs."""
        self.table[curve.place]["estimate_s"] = round(curve.whole_s, 1)
        self._pursue(curve.family, curve.place, curve.whole_s, LIMIT_SHARE, SHORTEST_SHARE)

    def _pursue(self, family: Family, place: int, estimate_s: float, share: float, least: float) -> None:
        row = self.table[place]
        if not self.run.once(f"pursue-{place}", lambda: self.left_s > least * estimate_s):
            row |= self._skipped(estimate_s)
            return
        whole = self.run.once(f"whole-{place}", lambda: estimate_s * STEADY <= self.left_s)
        limit_s = 0.0
        if not whole:
            limit_s = self.run.once(f"limit-{place}", lambda: max(SHORTEST_S, round(share * self.left_s, 1)))
        if limit_s:
            row["limit_s"] = limit_s
        self._train(f"spent-{place}", row, family, deadline_s=self.left_s if whole else float("inf"), limit_s=limit_s,
                    place=place)

    def _skipped(self, estimate_s: float) -> dict[str, Any]:
        reason = say("needs about {needs} s, {left} s are left", "约需 {needs} 秒，剩余 {left} 秒",
                     needs=round(estimate_s), left=round(self.left_s))
        return {"status": "skipped", "reason": reason}

    def _weighed(self, model: Model, place: int) -> dict[str, float]:
        """Size and time of an answer, where there is time to find out."""
        if self.left_s < WEIGHED_LEFT_S:
            return {}
        reader = RecordReader(self.snapshot / "validation")
        names = [one["name"] for one in read_columns(self.snapshot.read_json("about.json"))]
        batch = next(reader.batches(WEIGHED, columns=names), None)
        if batch is None or reader.roles.get(names[0]) == "image":
            return {}
        found: dict[str, float] = self.run.once(f"weigh-{place}", lambda: weigh(model, batch.rows(names)))
        return found

    def _train(
        self,
        spent: str,
        row: dict[str, Any],
        family: Family,
        *,
        deadline_s: float = float("inf"),
        limit_s: float = 0.0,
        part: float = 1.0,
        rated: int = 0,
        place: int = -1,
        kept: bool = True,
    ) -> None:
        """One training, either whole (a deadline then leaves no model) or shortened to ``limit_s``."""
        began = time.monotonic()
        try:
            with deadline_in(deadline_s):
                model = self.run.call(train, self.snapshot, family=family, seed=self.seed, seconds=limit_s, part=part,
                                      rated=rated)
            row |= {
                "status": "trained",
                "metric": model.measures["metric"],
                "validation": model.measures["validation"],
            }
            if kept:
                place = len(self.table) - 1 if place < 0 else place
                self.models[place] = model
                row |= self._weighed(model, place)
        except Pending:
            raise
        except MofangError as refusal:
            self.refusals.append(refusal)
            stopped = refusal.code == "time-is-up"
            row |= {
                "status": "stopped" if stopped else "refused",
                "code": refusal.code,
                "reason": refusal.what,
            }
        seconds = self.run.once(spent, lambda: round(time.monotonic() - began, 2))
        row["seconds"] = round(row.get("seconds", 0.0) + seconds, 2)
        self.left_s = max(0.0, self.left_s - seconds)

    def explain(self, smallest: Family, estimate_s: float) -> None:
        """Nothing was trained: say why."""
        if self.refusals:
            raise self.refusals[0]
        raise MofangError(
            "budget-too-small",
            budget_s=f"{self.budget_s:g}",
            family=smallest.tag,
            needs_s=max(1, round(estimate_s)),
        )
