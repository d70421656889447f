"""From a network and an objective to trained weights: what all torch families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load
from torch import nn

from mofang.core.errors import MofangError
from mofang.core.language import say
from mofang.core.progress import announce
from mofang.fit.family import Conditions
from mofang.fit.loop import spread
from mofang.fit.loop.checkpoint import tensors_file
from mofang.fit.loop.cursor import Outcome
from mofang.fit.loop.fitting import fitted_plan
from mofang.fit.loop.loop import Loop
from mofang.fit.loop.machine import threads
from mofang.fit.loop.memory import keep_pages
from mofang.fit.loop.objective import Objective
from mofang.fit.loop.plan import Plan
from mofang.fit.networks.adapt import adapter_files
from mofang.fit.networks.merging import merged

WEIGHTS = "weights.safetensors"


def fit_network(
    build: Callable[[], nn.Module], objective: Objective, plan: Plan, conditions: Conditions
) -> tuple[nn.Module, Outcome]:
    """Train the network that ``build`` makes; everything random follows from the plan's seed.

    The settings of learning go over the plan here; objectives that read them take ``conditions.learning.plan(plan)``.
    """
    plan = conditions.learning.plan(plan)
    if plan.label_smoothing and not getattr(objective, "smooths", False):
        raise MofangError("smoothing-unsuited", share=plan.label_smoothing)
    torch.set_num_threads(threads())
    keep_pages()
    torch.manual_seed(plan.seed)
    learning, folder = conditions.learning, spread.shared_folder(conditions.scratch)
    folder.mkdir(parents=True, exist_ok=True)
    if plan.fits_mb:
        plan = fitted_plan(build, objective, plan, folder)
        torch.manual_seed(plan.seed)
    if learning.devices > 1 and not spread.is_worker():
        return _elsewhere(build, conditions)
    network = build()
    if spread.is_worker() and (earlier := spread.taken(folder, network)):
        return network, earlier
    loop = Loop(network, objective, plan, folder, spread.placement(learning.placement))
    if loop.refused:
        announce(say("The newest checkpoint was altered and is not used; training goes on from an older one.",
                     "最新的检查点已被改动，不予使用；训练从较早的检查点继续。"))
    with conditions.progress("Training", "训练中", total=loop.cursor.steps) as bar:
        outcome = loop.run(bar)
    if spread.is_worker():
        weights = loop.placement.weights(loop.network)  # all ranks have to take part
        if loop.placement.is_first:
            spread.leave(folder, weights, outcome)
        raise spread.Finished
    return loop.network, outcome


def weights_files(network: nn.Module) -> dict[str, bytes]:
    """What a family keeps of a network: its weights, adapters merged into them, and the adapters by themselves."""
    found = adapter_files(network)
    return {WEIGHTS: weights_file(merged(network)), **found}


def _elsewhere(build: Callable[[], nn.Module], conditions: Conditions) -> tuple[nn.Module, Outcome]:
    """Several processes train; their result is put into a network here."""
    network = build()
    found = spread.taken(conditions.scratch, network)
    if found is None:
        with conditions.progress("Training", "训练中") as bar:
            spread.together(conditions.learning.devices, conditions.scratch, bar)
        found = spread.taken(conditions.scratch, network)
    assert found is not None
    return network, found


def weights_file(network: nn.Module) -> bytes:
    """All weights as one safetensors file."""
    return tensors_file(network.state_dict())


def notes_of(network: nn.Module, outcome: Outcome) -> dict[str, Any]:
    """What a model says about its training."""
    found: dict[str, Any] = {
        "best_epoch": outcome.best_epoch + 1,
        "epochs": len(outcome.curves),
        "stopped": outcome.stopped,
        "parameters": sum(value.numel() for value in network.parameters()),
        "device": outcome.device,
    }
    return found if outcome.precision == "fp32" else {**found, "precision": outcome.precision}


def restored(network: nn.Module, data: bytes) -> nn.Module:
    """The network with the weights of a fitted model."""
    network.load_state_dict(load(data))
    return network.eval()
