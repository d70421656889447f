"""Choices of every network of our own: what stands between its layers, and from which numbers it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "gelu", "silu", "tanh"]
Initialisation = Literal["default", "kaiming", "xavier", "orthogonal"]


def activation(name: Activation) -> nn.Module:
    """The layer of this name."""
    from torch import nn

    kinds: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
    return kinds[name]()


def initialised(network: nn.Module, kind: Initialisation) -> nn.Module:
    """The network with its matrices and kernels drawn anew, its biases zero; "default" leaves it as torch drew it.

    "kaiming" (He et al. 2015) suits ReLU, "xavier" (Glorot and Bengio 2010) tanh, "orthogonal" (Saxe et al. 2014) deep or
    recurrent networks.
    """
    from torch import nn

    if kind == "default":
        return network
    for name, value in network.named_parameters():
        if value.ndim > 1 and kind == "kaiming":
            nn.init.kaiming_normal_(value, nonlinearity="relu")
        elif value.ndim > 1:
            (nn.init.xavier_uniform_ if kind == "xavier" else nn.init.orthogonal_)(value)
        elif name.endswith("bias"):
            nn.init.zeros_(value)
    return network
