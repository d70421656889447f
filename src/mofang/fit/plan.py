"""What a run will need before it is paid for, and how wrong earlier plans were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mofang.core.artifact import Artifact
from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.stage import OnDisk, stage
from mofang.data.snapshot import Snapshot
from mofang.fit import families as registered
from mofang.fit.family import Family
from mofang.fit.gauge import Gauged, law_of
from mofang.fit.planning.advice import family_advice
from mofang.fit.planning.ahead import predict
from mofang.fit.planning.energy import energy_here
from mofang.fit.planning.known import MODELS, model_named, read_config
from mofang.fit.planning.learnt import factor
from mofang.fit.planning.memory import MB
from mofang.fit.planning.money import by_rates
from mofang.fit.planning.paper import Wanted, paper_plan
from mofang.fit.planning.room import usable_mb
from mofang.fit.planning.sample import sample_of
from mofang.fit.planning.scaling import Law

if TYPE_CHECKING:
    from mofang.core.shop import Shop

PLAN_FORMAT = 1


class Planned(Artifact):
    """A plan: plan.json."""

    kind = "plan"


def learnt_digest(shop: Shop, settings: dict[str, Any]) -> str:
    """What a plan depends on beside its settings: the configuration file, the shop's rates, and what its runs have taught."""
    config = read_config(settings["config"]) if settings["config"] else {}
    taught = {
        tag: [round(factor(shop, tag).seconds, 1), round(factor(shop, tag).memory, 1)] for tag in sorted(registered.KINDS)
    }
    return digest_of({"config": dict(config), "taught": taught, "rates": shop.rates})


@stage(version=1, depends="machine", source_digest=learnt_digest)
def plan(
    run: Run,
    snapshot: Snapshot | None = None,
    law: Gauged | None = None,
    *,
    families: tuple[Family, ...] = (),
    budget_s: Annotated[float, Field(gt=0)] = 300.0,
    model: str = "",
    config: Annotated[str, OnDisk()] = "",
    tokens: Annotated[float, Field(ge=0, le=1e16)] = 0.0,
    length: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    gpu: str = "h100",
    gpus: Annotated[int, Field(ge=1, le=65_536)] = 1,
    batch: Annotated[int, Field(ge=0)] = 0,
    adapt: Literal["all", "lora", "head"] = "all",
    hour: Annotated[float, Field(ge=0)] = 0.0,
    price: Annotated[float, Field(ge=0)] = 0.0,
    grid: str = "cn",
) -> Planned:
    """Say what a training will need: operations, memory by component, time, money and energy.

    With a SNAPSHOT, of each family on this machine, corrected by what the shop's own runs took. Without one, on paper: a
    published model (``--model gpt-3``) or a transformers ``--config``, so many ``--tokens``, and ``--gpus`` of a ``--gpu``;
    the LAW that ``gauge`` fitted stands beside the published ones.
    """
    if snapshot is not None:
        found = plan_here(run.shop, snapshot, families, budget_s, grid)
    else:
        wanted = Wanted(tokens, length, gpus, gpu, batch, adapt, grid=grid, hour=hour or None, price=price or None)
        found = plan_on_paper(model, config, wanted, None if law is None else law_of(law))
    run.write_json("plan.json", {"format": PLAN_FORMAT, **found})
    return run.result(Planned)


def plan_on_paper(model: str, config: str, wanted: Wanted, law: Law | None = None) -> dict[str, Any]:
    """The plan of a published model or a configuration file; needs no shop."""
    if not model and not config:
        raise MofangError("plan-nothing-given", known=", ".join(MODELS))
    return paper_plan(read_config(config) if config else model_named(model), wanted, law, model or config)


def plan_here(
    shop: Shop, snapshot: Artifact, families: Sequence[Family], budget_s: float, grid: str = "cn"
) -> dict[str, Any]:
    """Every family on this snapshot and this machine, cheap to dear."""
    from mofang.fit.tasks import candidates

    sample = sample_of(snapshot)
    proposed = families or candidates(snapshot.read_json("about.json")["task"], sample.size)
    limit = usable_mb()
    rows = [_row(shop, family, sample, limit, grid) for family in proposed]
    rows.sort(key=lambda row: float(row["wall_s"]))
    size = sample.size
    return {
        "kind": "here",
        "budget_s": budget_s,
        "limit_mb": limit and round(limit),
        "data": {
            "rows": size.rows,
            "validation": sample.validation,
            "classes": size.classes,
            "length": round(size.length, 1),
            "language": size.language,
        },
        "families": rows,
        "advice": family_advice(rows, size, budget_s),
    }


def _row(shop: Shop, family: Family, sample: Any, limit: float | None, grid: str) -> dict[str, Any]:
    """One family: what it takes, and what that figure rests on."""
    found = predict(shop, family, sample)
    used = energy_here(found.cpu_s, grid)
    work = found.work
    return {
        "family": family.tag,
        "settings": family.to_dict(),
        "cpu_s": round(found.cpu_s, 2),
        "wall_s": round(found.wall_s, 2),
        "peak_mb": round(found.peak_mb, 1),
        "fits": limit is None or found.peak_mb <= max(limit, found.held_mb),
        "parameters": round(work.parameters),
        "flops": work.flops,
        "steps": round(work.steps),
        "memory_mb": {
            "process": round(found.base_mb, 1),
            **{name: round(value / MB, 1) for name, value in work.memory.items()},
        },
        "modules": work.network.to_rows(sample.size.length) if work.network else [],
        "factor_s": found.factor.seconds,
        "factor_mb": found.factor.memory,
        "learnt_from": found.factor.runs,
        "money": by_rates(shop.rates, shop.currency, found.wall_s, used.kwh).to_dict(),
        "energy": used.to_dict(),
    }
