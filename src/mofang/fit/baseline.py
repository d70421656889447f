"""The simple model that every other one is compared with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.snapshot import Snapshot
from mofang.fit.export import Graph, export
from mofang.fit.tasks import baseline_of
from mofang.fit.train import train


@stage(version=3)
def baseline(
    run: Run,
    snapshot: Snapshot,
    *,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    miss_cost: Annotated[float, Field(ge=0)] = 0.0,
) -> Graph:
    """Train and export the baseline that evaluations show beside a model.

    It is logistic regression, on n-gram TF-IDF for texts and on standardised values for images and tables; for pairs on
    what two texts share, for spans and answers on what stands around each word. For two unequal
    classes it gets a threshold of its own, as ``export`` chooses it, so that both are compared fairly.
    """
    family = baseline_of(snapshot.read_json("about.json")["task"])
    graph: Graph = run.call(export, run.call(train, snapshot, family=family, seed=seed), miss_cost=miss_cost)
    return graph
