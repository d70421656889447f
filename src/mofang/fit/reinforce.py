"""Teach a generator by rewards for its own answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mofang.core.run import Run, used
from mofang.core.stage import stage
from mofang.data.records import Records
from mofang.engine.arrays import Array
from mofang.fit.export import Graph
from mofang.fit.generation.rewards import Form, Reward
from mofang.fit.train import Model

if TYPE_CHECKING:
    from mofang.fit.generation.fitting import Adapting
    from mofang.fit.generation.opened import Opened
    from mofang.fit.generation.policy import Prompts, Terms
    from mofang.fit.generation.writer import Manner
    from mofang.fit.loop.loop import Plan


@stage(version=2)
def reinforce(
    run: Run,
    model: Model,
    prompts: Records,
    judge: Graph | None = None,
    *,
    reward: Reward = Form(),
    prompt: str = "prompt",
    group: Annotated[int, Field(ge=2, le=256)] = 8,
    rows: Annotated[int, Field(ge=1)] = 8,
    updates: Annotated[int, Field(ge=1, le=16)] = 1,
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    kl: Annotated[float, Field(ge=0)] = 0.04,
    max_tokens: Annotated[int, Field(ge=1)] = 64,
    temperature: Annotated[float, Field(gt=0)] = 1.0,
    adapt: Literal["all", "lora"] = "all",
    rank: Annotated[int, Field(ge=1, le=512)] = 8,
    epochs: Annotated[int, Field(ge=1)] = 4,
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5,
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    seconds: Annotated[float, Field(ge=0)] = 0.0,
) -> Model:
    """Teach a generator by rewards: of ``group`` sampled answers those that earn more than their group become likelier
    (group relative policy optimisation).

    Rewards are named functions: ``length``, ``format`` (a pattern), ``exact`` (an answer in a column), or ``model``, the
    probability of a label by another model, given as ``judge``. ``updates`` steps use each sample, with ratios clipped to
    1 ± ``clip``; ``kl`` holds the model near itself. The reward of held-out prompts stands in the curves, from before on.
    """
    from mofang.fit.generation.fitting import Adapting
    from mofang.fit.generation.policy import Terms
    from mofang.fit.generation.writer import Manner
    from mofang.fit.loop.loop import Plan

    manner = Manner(max_tokens=max_tokens, temperature=temperature, seed=seed)
    plan = Plan(epochs, learning_rate, rows=rows, patience=epochs, warm_up=0.0, weight_decay=0.0, seed=seed, seconds=seconds)
    learning = _Learning(reward, Terms(group, updates, clip, kl), manner, plan, Adapting(adapt, rank))
    _teach(run, model, judge, (prompts, prompt, validation), learning)
    return run.result(Model)


@dataclass(frozen=True)
class _Learning:
    """What is rewarded, on which terms, how answers are written, how long is learnt, and what of the network."""

    reward: Reward
    terms: Terms
    manner: Manner
    plan: Plan
    adapting: Adapting


def _teach(run: Run, model: Model, judge: Graph | None, asked: tuple[Records, str, float], how: _Learning) -> None:
    import torch

    from mofang.engine.predictor import Predictor
    from mofang.fit.family import Conditions
    from mofang.fit.generation.fitting import fit_generator
    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.policy import Policy
    from mofang.fit.generation.renewed import stored_sample, write_renewed
    from mofang.fit.loop.machine import threads
    from mofang.fit.networks.generator import Generator

    began_s, (records, prompt, validation) = used()[0], asked
    reward, seed = how.reward, how.plan.seed
    judging = None if judge is None or not reward.asks else Predictor(judge)
    reward.require(judging)
    opened, reference = open_generator(model), open_generator(model).network
    train, held = _prompts(opened, records, prompt, reward, validation, seed)
    run.measure(**_foreseen(run, opened, (train, held), how, used()[0] - began_s))
    torch.set_num_threads(threads())

    def rate(answers: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Array:
        return reward.of(answers, rows, judging)

    policy = Policy(train, held, opened.encoder, reference, rate, how.manner, how.terms, run.scratch)
    before = policy.judge(opened.network, torch.device("cpu")).score

    def build() -> Generator:
        policy.network = opened.network
        return opened.network

    conditions = Conditions(seed, how.plan.seconds, run.scratch, run.progress)
    fitted = fit_generator(build, opened.encoder, policy, stored_sample(model), how.plan, conditions,
                           opened.about["architecture"], how.adapting)
    fitted.notes["reward_before"] = before
    taught = {"reward": reward.to_dict(), "group": how.terms.group, "kl": how.terms.kl, "adapt": how.adapting.kind,
              "seed": seed, "rows": {"train": len(train), "validation": len(held)}}
    write_renewed(run, model, fitted, taught, "reward", seed)


def _foreseen(run: Run, opened: Opened, sides: tuple[Prompts, Prompts], how: _Learning, spent_s: float) -> dict[str, Any]:
    """What it will take, if every answer becomes as long as it may."""
    from mofang.fit.planning.writing import Answers, foresee_reinforcing

    plan, terms, context = how.plan, how.terms, opened.context
    answered = min(how.manner.max_tokens, context - 1)
    told = []
    for prompts in sides:
        lengths = [min(len(one), context - min(answered, context // 2)) for one in prompts.ids]
        told.append(Answers(len(lengths), sum(lengths) / max(1, len(lengths)), answered, how.manner.temperature > 0))
    steps = plan.epochs * math.ceil(len(sides[0]) / plan.rows)
    rolled = replace(told[0], prompts=min(plan.rows, len(sides[0])) * terms.group)
    return foresee_reinforcing(run, opened.about["architecture"]["config"], rolled, told[1], adapt=how.adapting.kind, steps=steps,
                               updates=terms.updates, times=plan.epochs + 1, seconds=plan.seconds, spent_s=spent_s)


def _prompts(
    opened: Opened, records: Records, prompt: str, reward: Reward, share: float, seed: int
) -> tuple[Prompts, Prompts]:
    """Prompts that train and those that are held out."""
    from mofang.fit.generation.policy import Prompts
    from mofang.fit.generation.renewed import read_rows, sides_of

    rows = read_rows(records, tuple(dict.fromkeys(name for name in (prompt, reward.wanted()) if name)))
    column = opened.encoder.columns[0]
    ids = opened.prompts([{column: row[prompt]} for row in rows])
    train, held = sides_of([str(one[prompt]) for one in rows], share, seed)
    first, second = (Prompts([ids[one] for one in some], [rows[one] for one in some]) for some in (train, held))
    return first, second
