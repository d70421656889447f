"""Pretrain a few tiny networks and fit how the loss falls with their size and with the tokens they read."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import stage
from mofang.fit.planning.modules import count
from mofang.fit.planning.scaling import Law, Point, fit_law, published
from mofang.fit.pretrain import pretrain
from mofang.fit.pretraining.architecture import Architecture, Gpt
from mofang.fit.tokenizer import Shards

LAW_FORMAT = 1
BUDGETS = (1e15, 1e18, 1e21)  # operations for which the law's answer is written down


class Gauged(Artifact):
    """A fitted law: law.json with its runs, E, A and B, and what it says of some budgets."""

    kind = "law"


@stage(version=1)
def gauge(
    run: Run,
    shards: Shards,
    *,
    architecture: Architecture = Gpt(),
    depths: tuple[Annotated[int, Field(ge=1, le=48)], ...] = (1, 2, 4),
    tokens: Annotated[int, Field(ge=1)] = 400_000,
    context: Annotated[int, Field(ge=8)] = 128,
    batch_tokens: Annotated[int, Field(ge=8)] = 4096,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> Gauged:
    """Find the size that suits a budget best, by three or four small runs of your own.

    Each of ``depths`` reads ``tokens``; the smallest reads four times as many too, so that size and tokens can be told
    apart. N counts the weights that are multiplied, D the tokens read; see docs/plan.md.
    """
    if not set(architecture.objectives) & {"clm"}:
        raise MofangError("gauge-unsuited", kind=architecture.tag)
    points: list[Point] = []
    asked = [(depth, tokens) for depth in sorted(set(depths))]
    asked.append((asked[0][0], 4 * tokens))
    with run.progress("Small runs", "小规模试训", total=len(asked)) as bar:
        for depth, read in asked:
            made = run.call(
                pretrain,
                shards,
                architecture=replace(architecture, depth=depth, width=0),  # type: ignore[type-var]
                tokens=read,
                context=context,
                batch_tokens=batch_tokens,
                checks=4,
                lines=0,
                seed=seed,
            )
            network = count(made.read_json("config.json"), head="lm")
            points.append(
                Point(network.multiplied, made.measures["steps"] * batch_tokens, made.measures["validation_loss"])
            )
            bar.advance()
    law = fit_law(points)
    run.write_json(
        "law.json",
        {
            "format": LAW_FORMAT,
            "law": asdict(law),
            "points": [asdict(one) for one in points],
            "budgets": [_said(law, flops) for flops in BUDGETS],
        },
    )
    run.measure(floor=round(law.floor, 4), size=round(law.size, 4), data=round(law.data, 4), error=round(law.error, 5))
    return run.result(Gauged)


def _said(law: Law, flops: float) -> dict[str, Any]:
    """The best size of a budget by the law, beside the published ratios; what cannot be told is said so."""
    found = [one.to_dict() for one in published(flops)]
    try:
        found.append(law.optimum(flops).to_dict())
    except MofangError as error:
        found.append({"law": "own runs", "parameters": None, "tokens": None, "source": error.code})
    return {"flops": flops, "optimum": found}


def law_of(gauged: Artifact) -> Law:
    """The law that ``gauge`` fitted."""
    return Law(**gauged.read_json("law.json")["law"])
