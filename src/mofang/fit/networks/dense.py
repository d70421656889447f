"""Dense layers over one flat row of values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.fit.networks.starting import Activation, activation


class DenseNetwork(nn.Module):
    """Linear, activation and dropout per hidden layer; the one input [B, ...] is flattened, logits are [B, K]."""

    def __init__(
        self, values: int, hidden: Sequence[int], classes: int, dropout: float, between: Activation = "relu"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers += [nn.Linear(values, width), activation(between), nn.Dropout(dropout)]
            values = width
        self.layers = nn.Sequential(*layers, nn.Linear(values, classes))

    def forward(self, **arrays: Tensor) -> Tensor:
        """Logits [B, K] of pixels or features."""
        (only,) = arrays.values()
        found: Tensor = self.layers(only)
        return found


def linear_network(weights: Array, bias: Array) -> DenseNetwork:
    """A fitted logistic regression as a network without hidden layers; weights [F, K], bias [K]."""
    values, classes = weights.shape
    network = DenseNetwork(values, (), classes, 0.0)
    state = {
        "layers.1.weight": torch.from_numpy(np.ascontiguousarray(weights.T)),
        "layers.1.bias": torch.from_numpy(bias),
    }
    network.load_state_dict(state)
    return network


def values_of(shape: Sequence[int]) -> int:
    """How many values a row of this shape holds."""
    return math.prod(shape)
