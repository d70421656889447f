"""What a network is taught: an objective makes the batches, their loss and the verdict; the loop does the rest.

Adding a task is writing one objective: class labels, masked tokens, answers in a passage and preferences differ
in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array, Arrays


@dataclass(frozen=True)
class Batch:
    """One micro-batch: its tensors, and how many valid targets it holds (rows, tokens, pairs).

    The loss of a step is the sum of the losses over all micro-batches and ranks, divided by their counts together.
    """

    arrays: dict[str, Tensor]
    count: float

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch({name: value.to(device, non_blocking=True) for name, value in self.arrays.items()}, self.count)


@dataclass(frozen=True)
class Judged:
    """What validation gave: ``score`` chooses the best weights (higher is better), ``loss`` is a mean per target.

    ``figures`` go into curves and report (perplexity, bits per byte); ``outputs`` are what the family keeps, such as
    "probabilities" float32 [N, K].
    """

    score: float
    loss: float
    figures: dict[str, float] = field(default_factory=dict)
    outputs: Arrays = field(default_factory=dict)


class Objective(Protocol):
    """What the loop asks of a task.

    Before the first batch of a step the loop seeds torch's generator from (seed, step), so a batch may draw from it;
    anything else random has to follow from (seed, epoch, step) too, or a killed run would not go on bit for bit.

    An objective may have more: ``ids(rows)`` names the records in an error, ``smooths`` is true where its loss obeys the
    plan's ``label_smoothing``, which is refused otherwise.
    """

    @property
    def lengths(self) -> Array:
        """Positions of every training row, int64 [N]: rows of similar length share a batch."""

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The training rows with these indices, as this epoch and step see them."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss summed over the batch's valid targets, a float32 scalar."""

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """The verdict of the validation rows on these weights; the network is in evaluation mode already."""


def tensors(arrays: Arrays, device: torch.device | None = None) -> dict[str, Tensor]:
    """Arrays as tensors of the same kind."""
    found = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return found if device is None else {name: value.to(device) for name, value in found.items()}
