"""The cheap model beside every expensive one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.data.snapshot import Snapshot
from mofang.fit.export import Graph, export
from mofang.fit.families.linear import Linear
from mofang.fit.train import train


@stage(version=1)
def baseline(run: Run, snapshot: Snapshot, *, seed: Annotated[int, Field(ge=0, lt=2**31)] = 0) -> Graph:
    """Train and export the linear model (TF-IDF + logistic regression for text), to stand beside the chosen one.

    It is trained on the same split as every other family; where it was a candidate already, its run is reused.
    """
    graph: Graph = run.call(export, run.call(train, snapshot, family=Linear(), seed=seed))
    return graph
