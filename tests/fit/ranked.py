"""One of several processes that train tiny networks, one after the other: ``torchrun … -m tests.fit.ranked WORKS``.

``WORKS`` is JSON: rows of (how, folder, epochs, settings). The first process writes ``figures.json`` into each folder:
losses, gradient norms and the sum of the weights' magnitudes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from mofang.core.progress import Bar
from mofang.fit.loop.arrays import Dense
from mofang.fit.loop.classification import Classes
from mofang.fit.loop.journal import read_steps
from mofang.fit.loop.learning import Constant
from mofang.fit.loop.loop import Loop
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.ranks import How, placed

ROWS = 61  # no multiple of anything


class Stack(nn.Module):
    """Blocks with normalisation, a layer that nothing asks, and one that another method than ``forward`` asks."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))) for _ in range(3))
        self.unused, self.leave = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        states = self.enter(features)
        for block in self.blocks:
            states = states + block(states)
        found: torch.Tensor = self.leave(states)
        return found


def accuracy(probabilities: Any, labels: Any) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def train(how: How, folder: Path, epochs: int, **settings: Any) -> dict[str, Any]:
    """Train (or go on) and tell the figures."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, 6)).astype(np.float32)
    labels = (values[:, 0] * values[:, 1] > 0).astype(np.int64)
    torch.manual_seed(0)
    plan = Plan(**({"epochs": epochs, "learning_rate": 0.01, "rows": 9, "patience": 99, "micro_batches": 2, "checkpoint_s": 0.0,
                    "schedule": Constant(), "warm_up": 0.0} | settings))
    rows = Dense({"features": values}), labels
    loop = Loop(Stack(), Classes(rows, rows, plan, accuracy), plan, folder, placed(how))
    outcome = loop.run(Bar("", None, live=False))
    weights = loop.placement.weights(loop.network)
    steps = read_steps(folder)
    return {"loss": [one["loss"] for one in steps], "norm": [one["gradient_norm"] for one in steps], "resumed": outcome.resumed,
            "weights": {name: value.double().abs().sum().item() for name, value in weights.items()},
            "validation": [one["validation_loss"] for one in outcome.curves]}


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for how, folder, epochs, settings in json.loads(sys.argv[1]):
        told = train(how, Path(folder), epochs, **settings)
        if dist.get_rank() == 0:
            (Path(folder) / "figures.json").write_text(json.dumps(told))
    dist.destroy_process_group()
