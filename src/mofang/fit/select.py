"""Choose a family: from cheap to dear within a budget, the best on the validation part wins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from mofang.core.errors import MofangError, Pending
from mofang.core.language import say
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.snapshot import Snapshot
from mofang.fit.family import Family
from mofang.fit.loop.deadline import deadline_in
from mofang.fit.loop.machine import multiply_rate
from mofang.fit.size import size_of
from mofang.fit.tasks import candidates
from mofang.fit.train import Model, train

HEADROOM = 4.0  # a first candidate is trained whole where its estimate fits so often into the budget
FIRST_REACH = 10.0  # and tried at all up to an estimate of so many budgets
SHORTEST_S = 0.1
ANNOUNCED_S = 60.0  # a longer search is announced


@stage(version=3, depends="machine")
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
    goes on from there. The first one is shortened to the budget where it would take longer, so that there is
    a model at the end. ``families`` names the candidates; left empty, the task proposes them.
    """
    size = size_of(snapshot)
    rate = run.once("rate", multiply_rate)
    proposed = families or candidates(snapshot.read_json("about.json")["task"], size)
    estimates = {family: family.estimate(size).seconds(rate) for family in proposed}
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
    trial = Trial(run, snapshot, seed, budget_s)
    for family in ordered:
        trial.attempt(family, estimates[family])
    if not trial.models:
        trial.explain(ordered[0], estimates[ordered[0]])
    chosen = max(trial.models, key=lambda place: (trial.table[place]["validation"], -place))
    trial.table[chosen]["status"] = "chosen"
    run.measure(
        candidates=trial.table,
        chosen=trial.table[chosen]["family"],
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

    def __init__(self, run: Run, snapshot: Snapshot, seed: int, budget_s: float) -> None:
        self.run, self.snapshot, self.seed, self.budget_s = run, snapshot, seed, budget_s
        self.left_s = budget_s
        self.table: list[dict[str, Any]] = []
        self.models: dict[int, Model] = {}
        self.refusals: list[MofangError] = []

    def attempt(self, family: Family, estimate_s: float) -> None:
        """Train one candidate if it fits into what is left; write down what happened.

        While there is no model yet, a candidate is tried although it seems too large, shortened to what is
        left: a budget buys a model unless the estimate is over it ten times.
        """
        place, first = len(self.table), not self.models
        row: dict[str, Any] = {
            "family": family.tag,
            "settings": family.to_dict(),
            "estimate_s": round(estimate_s, 1),
        }
        self.table.append(row)
        reach_s = self.left_s * (FIRST_REACH if first else 1)
        if not self.run.once(f"take-{place}", lambda: estimate_s <= reach_s):
            row |= {
                "status": "skipped",
                "reason": say(
                    "needs about {needs} s, {left} s are left",
                    "约需 {needs} 秒，剩余 {left} 秒",
                    needs=round(estimate_s),
                    left=round(self.left_s),
                ),
            }
            return
        whole = not first or estimate_s * HEADROOM <= self.left_s
        if whole:
            self._train(f"spent-{place}", row, family, deadline_s=self.left_s / (2 if first else 1))
        if first and (not whole or row["status"] == "stopped"):
            for name in ("code", "reason"):
                row.pop(name, None)
            row["limit_s"] = max(SHORTEST_S, round(self.left_s, 1))
            self._train(f"spent-short-{place}", row, family, limit_s=row["limit_s"])

    def _train(
        self,
        spent: str,
        row: dict[str, Any],
        family: Family,
        *,
        deadline_s: float = float("inf"),
        limit_s: float = 0.0,
    ) -> None:
        """One training, either whole (a deadline then leaves no model) or shortened to ``limit_s``."""
        began = time.monotonic()
        try:
            with deadline_in(deadline_s):
                model = self.run.call(train, self.snapshot, family=family, seed=self.seed, seconds=limit_s)
            self.models[len(self.table) - 1] = model
            row |= {
                "status": "trained",
                "metric": model.measures["metric"],
                "validation": model.measures["validation"],
            }
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
