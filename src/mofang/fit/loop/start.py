"""From a network and encoded rows to a fitted model: what all torch families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from mofang.engine.encode import Encoder
from mofang.fit.encoders import encode_sample
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.arrays import Encoded
from mofang.fit.loop.loop import Augment, Loop, Plan
from mofang.fit.loop.machine import threads
from mofang.fit.material import Material

WEIGHTS = "weights.safetensors"


def fit_network(
    build: Callable[[], nn.Module],
    encoder: Encoder,
    encoded: tuple[Encoded, Encoded],
    material: Material,
    plan: Plan,
    conditions: Conditions,
    architecture: dict[str, Any],
    augment: Augment | None = None,
) -> Fitted:
    """Train the network that ``build`` makes; everything random follows from the plan's seed."""
    torch.set_num_threads(threads())
    torch.manual_seed(plan.seed)
    train, validation = encoded
    renew = None
    if conditions.variation is not None:
        from mofang.fit.loop.renewing import Renewal

        renew = Renewal(conditions.variation, encoder, train, material, plan.seed).batch
    loop = Loop(
        build(),
        (train, material.train.labels),
        (validation, material.validation.labels),
        plan,
        material.score,
        conditions.scratch,
        augment,
        renew,
    )
    with conditions.progress("Training", "训练中", total=loop.cursor.steps) as bar:
        outcome = loop.run(bar)
    weights = save({name: value.cpu().contiguous() for name, value in loop.network.state_dict().items()})
    notes = {
        "best_epoch": outcome.best_epoch + 1,
        "epochs": len(outcome.curves),
        "stopped": outcome.stopped,
        "parameters": sum(value.numel() for value in loop.network.parameters()),
        "device": loop.device.type,
    }
    return Fitted(
        encoder,
        {WEIGHTS: weights},
        architecture,
        outcome.probabilities,
        encode_sample(encoder, material.validation.records),
        outcome.curves,
        notes,
    )


def weights_of(material: Material, balance: bool) -> tuple[float, ...]:
    """What each class counts in the loss where a family balances them; () where all rows count alike."""
    return tuple(map(float, material.class_weights)) if balance else ()


def restored(network: nn.Module, data: bytes) -> nn.Module:
    """The network with the weights of a fitted model."""
    network.load_state_dict(load(data))
    return network.eval()
