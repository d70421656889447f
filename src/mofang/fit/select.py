"""Choose a family: from cheap to dear within a budget, the best on the validation part wins."""

from __future__ import annotations

import time
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

UNLIMITED_S = float("inf")


@stage(version=1, depends="machine")
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
    goes on from there. ``families`` names the candidates; left empty, the task proposes them.
    """
    size = size_of(snapshot)
    rate = run.once("rate", multiply_rate)
    proposed = families or candidates(snapshot.read_json("about.json")["task"], size)
    estimates = {family: family.estimate(size).seconds(rate) for family in proposed}
    ordered = sorted(proposed, key=lambda family: estimates[family])
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
        """Train one candidate if it fits into what is left; write down what happened."""
        place = len(self.table)
        row: dict[str, Any] = {
            "family": family.tag,
            "settings": family.to_dict(),
            "estimate_s": round(estimate_s, 1),
        }
        self.table.append(row)
        if not self.run.once(f"take-{place}", lambda: estimate_s <= self.left_s):
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
        began = time.monotonic()
        try:
            with deadline_in(self.left_s if self.models else UNLIMITED_S):
                model = self.run.call(train, self.snapshot, family=family, seed=self.seed)
            self.models[place] = model
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
        row["seconds"] = self.run.once(f"spent-{place}", lambda: round(time.monotonic() - began, 2))
        self.left_s -= row["seconds"]

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
