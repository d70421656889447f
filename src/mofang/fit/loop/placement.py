"""Where training takes place. The loop asks these few things and knows nothing else of processes and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.fit.loop.checkpoint import write_checkpoint
from mofang.fit.loop.optimizers import Steps
from mofang.fit.loop.rows import clip_gradients

EDGE = 1e-6  # torch divides by the norm and this much


class Placement(Protocol):
    """One process of training: ``ranks`` of them take each step together, each on its share of every batch."""

    ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes checkpoints, the journal and the result."""

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it is trained; gradients come out averaged over the ranks."""

    def share(self, rows: Array) -> Array:
        """This rank's rows of a batch; all ranks' together are the batch."""

    def total(self, value: float) -> float:
        """The sum over all ranks."""

    def clip(self, network: nn.Module, most: float) -> float:
        """The norm of the whole gradient before it was shortened to ``most`` (0: left as it is)."""

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """All weights, whole, under the names of the unwrapped network."""

    def put(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """Set all weights."""

    def state(self, network: nn.Module, steps: Steps) -> dict[str, Tensor]:
        """Weights (``network/…``) and the optimizers' state (``optimizer/…``) for a checkpoint."""

    def load(self, network: nn.Module, steps: Steps, tensors: dict[str, Tensor]) -> None:
        """Go on from what ``state`` gave, possibly under another number of ranks."""

    def write(self, folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint; it is whole when this returns on any rank."""


class Alone:
    """One process and one device."""

    ranks = 1
    is_first = True

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network on the device."""
        return network.to(self.device)

    def share(self, rows: Array) -> Array:
        """All of them."""
        return rows

    def total(self, value: float) -> float:
        """The value itself."""
        return value

    def clip(self, network: nn.Module, most: float) -> float:
        """Clip by the norm over all parameters; nothing is written where nothing is clipped."""
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        if any(one.is_sparse for one in gradients):
            return clip_gradients(network.parameters(), most)
        norm = nn.utils.get_total_norm(gradients)
        found = float(norm)
        if most and not found + EDGE <= most:
            nn.utils.clip_grads_with_norm_(network.parameters(), most, norm)
        return found

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """A view of the weights."""
        return {name: value.detach() for name, value in network.state_dict().items()}

    def put(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """Set all weights."""
        network.load_state_dict(weights)

    def state(self, network: nn.Module, steps: Steps) -> dict[str, Tensor]:
        """Weights and the optimizers' state."""
        found = {f"network/{name}": value for name, value in network.state_dict().items()}
        return found | {f"optimizer/{name}": value for name, value in steps.tensors().items()}

    def load(self, network: nn.Module, steps: Steps, tensors: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        network.load_state_dict(below(tensors, "network/"))
        steps.load(below(tensors, "optimizer/"))

    def write(self, folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint."""
        write_checkpoint(folder, step, tensors, state)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
