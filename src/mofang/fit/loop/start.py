"""From a network and an objective to trained weights: what all torch families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from mofang.fit.family import Conditions
from mofang.fit.loop.loop import Loop, Outcome, Plan
from mofang.fit.loop.machine import threads
from mofang.fit.loop.objective import Objective
from mofang.fit.networks.adapt import adapter_files, merge

WEIGHTS = "weights.safetensors"


def fit_network(
    build: Callable[[], nn.Module], objective: Objective, plan: Plan, conditions: Conditions
) -> tuple[nn.Module, Outcome]:
    """Train the network that ``build`` makes; everything random follows from the plan's seed."""
    torch.set_num_threads(threads())
    torch.manual_seed(plan.seed)
    loop = Loop(build(), objective, plan, conditions.scratch)
    with conditions.progress("Training", "训练中", total=loop.cursor.steps) as bar:
        outcome = loop.run(bar)
    return loop.network, outcome


def weights_files(network: nn.Module) -> dict[str, bytes]:
    """What a family keeps of a network: its weights, adapters merged into them, and the adapters by themselves."""
    found = adapter_files(network)
    return {WEIGHTS: weights_file(merge(network)), **found}


def weights_file(network: nn.Module) -> bytes:
    """All weights as one safetensors file."""
    return save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})


def notes_of(network: nn.Module, outcome: Outcome) -> dict[str, Any]:
    """What a model says about its training."""
    return {
        "best_epoch": outcome.best_epoch + 1,
        "epochs": len(outcome.curves),
        "stopped": outcome.stopped,
        "parameters": sum(value.numel() for value in network.parameters()),
        "device": outcome.device,
    }


def restored(network: nn.Module, data: bytes) -> nn.Module:
    """The network with the weights of a fitted model."""
    network.load_state_dict(load(data))
    return network.eval()
