"""Linear layers that share their input, as one product; with LoRA's small matrices beside them where a layer has some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.fit.loop.probe import choices
from mofang.fit.networks.kernels import Frozen, joined, joined_now, tracing


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


def fused(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``linear`` by oneDNN's own operator, which adds the bias within the product; no way back."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
    return found


@cache
def fuses() -> bool:
    """Whether this torch has the operator for bfloat16 on this processor."""
    made = torch.ones(2, 2, dtype=torch.bfloat16)
    try:
        return bool((fused(made, made, made[0]) == 3).all())
    except (AttributeError, RuntimeError):  # built without oneDNN, or a processor without bfloat16
        return False


class _Product(torch.autograd.Function):
    """Several linear layers on one input in bfloat16: casts, product and bias in one, the bias not written beforehand."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, count: int, *parameters: Tensor) -> Tensor:
        weight, bias = joined_now(parameters[:count], values.dtype), joined_now(parameters[count:], values.dtype)
        ctx.save_for_backward(values, weight)
        ctx.rows = [len(one) for one in parameters[:count]]
        return fused(values, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, weight = ctx.saved_tensors
        slope = gradients[0].reshape(-1, len(weight))
        by_values = (slope @ weight).view(values.shape) if ctx.needs_input_grad[0] else None
        by_weight = (slope.t() @ values.reshape(-1, values.shape[-1])).split_with_sizes(ctx.rows)
        by_bias = slope.sum(dim=0).split_with_sizes(ctx.rows)
        return by_values, None, *(one.float() for one in by_weight), *(one.float() for one in by_bias)


def fits_product(values: Tensor, parameters: Sequence[Tensor | None]) -> bool:
    """Whether ``_Product`` may compute this, and the machine's probe found it faster."""
    if values.dtype != torch.bfloat16 or values.device.type != "cpu" or choices().bias != "fused" or tracing():
        return False
    plain = all(type(one) in (Tensor, nn.Parameter) and one.requires_grad and one.dtype == torch.float32 for one in parameters)
    return plain and type(values) is Tensor and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def project(values: Tensor, layers: Sequence[nn.Module], frozen: Frozen) -> Tensor:
    """The outputs of several layers on one input, side by side [..., sum of their widths], in the input's precision."""
    dtype = values.dtype
    parameters = [*(layer.weight for layer in layers), *(layer.bias for layer in layers)]
    if fits_product(values, parameters):  # type: ignore[arg-type]
        product: Tensor = _Product.apply(values, len(layers), *parameters)  # type: ignore[no-untyped-call]
        return product
    weight = frozen.joined([layer.weight for layer in layers], dtype)  # type: ignore[misc]
    biases: list[Any] = [layer.bias for layer in layers]
    bias = None if biases[0] is None else frozen.joined(biases, dtype)
    found = functional.linear(values, weight, bias)
    adapted = [layer for layer in layers if isinstance(layer, LoraLinear)]
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
