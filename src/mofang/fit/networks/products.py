"""Products of linear layers in bfloat16 on a processor, forward and back by hand: what autograd would copy is written once.

A bias is added within the product by oneDNN's own operator, which is faster than writing it beforehand; thin matrices of LoRA are
added into the same output. Where the machine's probe does not find it faster, ``projection`` computes the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mofang.fit.loop.probe import choices
from mofang.fit.networks.kernels import joined_now, tracing


def fused(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
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


def suits(values: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether the products here may compute this, and the machine's probe found them faster."""
    if values.dtype != torch.bfloat16 or values.device.type != "cpu" or choices().bias != "fused" or tracing():
        return False
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or type(values) is not Tensor:
        return False
    return fuses() and all(type(one) in (Tensor, nn.Parameter) and one.dtype == torch.float32 for one in parameters)


class Trained(torch.autograd.Function):
    """Several layers on one input [..., in]: ``apply(values, count, *weights, *biases)`` gives [..., sum of out].

    A count of 0 stands for a single weight that lies as [in, out].
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, count: int, *parameters: Tensor) -> Tensor:
        """Weights and biases are joined by the copy that casts them."""
        ctx.turned, count = not count, max(1, count)
        weight, bias = joined_now(parameters[:count], values.dtype), joined_now(parameters[count:], values.dtype)
        weight = weight.t() if ctx.turned else weight
        ctx.save_for_backward(values, weight)
        ctx.rows = [len(one) for one in parameters[:count]]
        return fused(values, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Slopes of the input in its precision, of the parameters in float32."""
        values, weight = ctx.saved_tensors
        slope = gradients[0].reshape(-1, len(weight))
        by_values = (slope @ weight).view(values.shape) if ctx.needs_input_grad[0] else None
        flat = values.reshape(-1, values.shape[-1])
        by_weight = (flat.t() @ slope if ctx.turned else slope.t() @ flat).split_with_sizes(ctx.rows)
        by_bias = [slope.sum(dim=0)] if ctx.turned else slope.sum(dim=0).split_with_sizes(ctx.rows)
        return by_values, None, *(one.float() for one in by_weight), *(one.float() for one in by_bias)


class Adapted(torch.autograd.Function):
    """A product whose weight [out, in] stays, with LoRA's thin matrices added into its output.

    ``apply(values, weight, bias, places, *pairs)``: ``pairs`` are A [rank, in] and B [outer, rank] of each adapter in float32,
    ``places`` its first output and its scale.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, places: Sequence[tuple[int, float]],
                *pairs: Tensor) -> Tensor:
        """All adapters go through one thin product down and one up."""
        found = fused(values, weight, bias)
        ctx.places, ctx.ranks = places, [len(one) for one in pairs[::2]]
        if not pairs:
            ctx.save_for_backward(weight)
            return found
        down = joined_now(pairs[::2], values.dtype)
        up = weight.new_zeros((len(weight), len(down)))
        for (start, scale), one, column in zip(places, pairs[1::2], _starts(ctx.ranks), strict=True):
            up[start : start + len(one), column : column + one.shape[1]].copy_(one).mul_(scale)
        flat = values.reshape(-1, values.shape[-1])
        inner = flat @ down.t()
        found.view(-1, len(weight)).addmm_(inner, up.t())
        ctx.save_for_backward(weight, flat, inner, down, up)
        ctx.heights = [len(one) for one in pairs[1::2]]
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Slopes of the input in its precision, of the thin matrices in float32."""
        weight, *kept = ctx.saved_tensors
        slope = gradients[0].reshape(-1, len(weight))
        by_values = slope @ weight if ctx.needs_input_grad[0] else None
        by_pairs: list[Tensor] = []
        if kept:
            flat, inner, down, up = kept
            back = slope @ up
            if by_values is not None:
                by_values.addmm_(back, down)
            downs, ups = (back.t() @ flat).split_with_sizes(ctx.ranks), slope.t() @ inner
            for (start, scale), height, rank, column, one in zip(
                    ctx.places, ctx.heights, ctx.ranks, _starts(ctx.ranks), downs, strict=True):
                by_pairs += [one.float(), ups[start : start + height, column : column + rank].float() * scale]
        shape = (*gradients[0].shape[:-1], weight.shape[1])
        return None if by_values is None else by_values.view(shape), None, None, None, *by_pairs


def _starts(ranks: Sequence[int]) -> list[int]:
    return [sum(ranks[:place]) for place in range(len(ranks))]
