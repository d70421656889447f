"""Linear layers that share their input, as one product; with LoRA's small matrices beside them where a layer has some."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.fit.networks.kernels import Frozen, joined
from mofang.fit.networks.products import Adapted, Trained, suits


class LoraLinear(nn.Module):
    """A linear layer whose weight stays, and two thin matrices that are trained beside it (Hu et al. 2021).

    The output is ``base(x) + scale * B(A(x))``; ``lora_A`` starts random, ``lora_B`` at zero, so nothing changes at first.
    ``turned`` says that the base keeps its weight as [in, out], as GPT-2 does.
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        self.base_layer, self.turned = base, not isinstance(base, nn.Linear)
        base.requires_grad_(False)
        first, second = self.weight.shape
        inner, outer = (first, second) if self.turned else (second, first)
        self.rank, self.scale = rank, alpha / rank
        self.lora_A = nn.Linear(inner, rank, bias=False)
        self.lora_B = nn.Linear(rank, outer, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=5**0.5)
        nn.init.zeros_(self.lora_B.weight)

    @property
    def weight(self) -> Tensor:
        """The weight that stays."""
        found: Tensor = self.base_layer.weight  # type: ignore[assignment]
        return found

    @property
    def bias(self) -> Tensor | None:
        """The bias that stays [out]."""
        found: Tensor | None = self.base_layer.bias  # type: ignore[assignment]
        return found

    def forward(self, values: Tensor) -> Tensor:
        """As the base layer, with what was learnt beside it."""
        inner = functional.linear(values, self.lora_A.weight.to(values.dtype))
        added = functional.linear(inner, self.lora_B.weight.to(values.dtype)) * self.scale
        found: Tensor = self.base_layer(values) + added
        return found

    def merged(self) -> nn.Module:
        """One plain layer that does the same."""
        with torch.no_grad():
            product = self.scale * (self.lora_B.weight @ self.lora_A.weight)
            self.weight.add_(product.t() if self.turned else product)
        return self.base_layer


def project(values: Tensor, layers: Sequence[nn.Module], frozen: Frozen) -> Tensor:
    """The outputs of several layers on one input, side by side [..., sum of their widths], in the input's precision."""
    dtype = values.dtype
    weights: list[Any] = [layer.weight for layer in layers]
    biases: list[Any] = [layer.bias for layer in layers]
    adapted = [layer for layer in layers if isinstance(layer, LoraLinear)]
    by_hand = suits(values, [*weights, *(one for one in biases if one is not None)])
    if by_hand and not adapted and None not in biases and all(one.requires_grad for one in (*weights, *biases)):
        trained: Tensor = Trained.apply(values, len(layers), *weights, *biases)  # type: ignore[no-untyped-call]
        return trained
    weight = frozen.joined(weights, dtype)
    bias = None if biases[0] is None else frozen.joined(biases, dtype)
    if by_hand and not any(one.requires_grad for one in (*weights, *biases) if one is not None):
        starts = dict(zip(map(id, layers), itertools.accumulate(map(len, weights), initial=0), strict=False))
        places = [(starts[id(layer)], layer.scale) for layer in adapted]
        pairs = [one for layer in adapted for one in (layer.lora_A.weight, layer.lora_B.weight)]
        stayed: Tensor = Adapted.apply(values, weight, bias, places, *pairs)  # type: ignore[no-untyped-call]
        return stayed
    found = functional.linear(values, weight, bias)
    if not adapted:
        return found
    inner = functional.linear(values, joined([layer.lora_A.weight for layer in adapted], dtype))
    parts = dict(zip(map(id, adapted), inner.split_with_sizes([layer.rank for layer in adapted], dim=-1), strict=True))
    added = [
        functional.linear(parts[id(layer)], joined([layer.lora_B.weight], dtype)) * layer.scale
        if isinstance(layer, LoraLinear)
        else found.new_zeros((*found.shape[:-1], layer.weight.shape[0]))  # type: ignore[arg-type,index]
        for layer in layers
    ]
    return found + torch.cat(added, dim=-1)
