"""Self-attention of rows that lie end to end, forward and back by hand: as few passes over the scores as can be.

Written as separate operators, attention over short rows costs more than the matrix products around it: each takes a pass
over the scores, and a softmax in bfloat16 over a length that is no multiple of the processor's width takes four times as
long as one in float32. Here queries, keys and values are parted by one copy, the softmax and its way back are float32, and what
follows from them is written in place. It is the function of ``attend(variant="plain")``, to the rounding of the precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mofang.fit.loop.probe import Choices
from mofang.fit.networks.attention import attend, padding_bias
from mofang.fit.networks.kernels import Masks

SPARE = 32_768  # scores that cost as much as one more stretch does, so that merging short rows with longer ones pays


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows that attend together, padded to ``length`` for it where they differ.

    ``positions`` of their own lie end to end. Where rows differ, ``slots`` int64 [positions] are the places of these among
    rows * length, ``source`` int64 [rows * length] is what is read for each place (for padding any position, for ``padding``
    lists those places) and ``bias`` [rows, 1, 1, length] keeps padding out of sight.
    """

    rows: int
    length: int
    positions: int
    slots: Tensor | None = None
    source: Tensor | None = None
    padding: Tensor | None = None
    bias: Tensor | None = None


def stretches(counts: Sequence[int], heads: int, dtype: torch.dtype) -> tuple[Stretch, ...]:
    """Rows of these lengths (from short to long) in stretches, so that padding costs less than another stretch would."""
    made: list[Stretch] = []
    stop = len(counts)
    while stop:
        longest, first, wasted = counts[stop - 1], stop - 1, 0
        while first and (wasted := wasted + heads * (longest**2 - counts[first - 1] ** 2)) <= SPARE:
            first -= 1
        made.append(_stretch(counts[first:stop], dtype))
        stop = first
    return tuple(reversed(made))


def _stretch(counts: Sequence[int], dtype: torch.dtype) -> Stretch:
    rows, longest, own = len(counts), counts[-1], sum(counts)
    if counts[0] == longest:
        return Stretch(rows, longest, own)
    mask = torch.arange(longest) < torch.tensor(counts)[:, None]
    flat = mask.view(-1)
    source = (flat.cumsum(0) - 1).clamp_(min=0)
    return Stretch(rows, longest, own, flat.nonzero().squeeze(1), source, (~flat).nonzero().squeeze(1), padding_bias(mask, dtype))


def mixed(joint: Tensor, parts: Sequence[Stretch], heads: int, share: float, chosen: Choices, masks: Masks) -> Tensor:
    """What attention makes of queries, keys and values joined [T, 3H]: [T, H]; ``share`` of the weights is dropped."""
    ways = [chosen.attention("full" if part.bias is None else "padded", part.length, False, joint.dtype) for part in parts]
    share = share if masks.training else 0.0
    if all(way == "plain" for way in ways) and type(joint) is Tensor:
        found: Tensor = _Mixed.apply(joint, parts, heads, share, masks)  # type: ignore[no-untyped-call]
        return found
    shares = joint.split_with_sizes([part.positions for part in parts])
    made = []
    for one, part, way in zip(shares, parts, ways, strict=True):
        if part.source is not None:
            one = one.index_select(0, part.source)
        apart = one.view(part.rows, part.length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        found = attend(*apart.unbind(0), variant=way, bias=part.bias, dropout=share, masks=masks)
        found = found.transpose(1, 2).reshape(part.rows * part.length, -1)
        made.append(found if part.slots is None else found.index_select(0, part.slots))
    return made[0] if len(made) == 1 else torch.cat(made)


class _Mixed(torch.autograd.Function):
    """``mixed`` in plain products, stretch by stretch."""

    @staticmethod
    def forward(ctx: Any, joint: Tensor, parts: Sequence[Stretch], heads: int, share: float, masks: Masks) -> Tensor:
        made = joint.new_empty((len(joint), joint.shape[1] // 3))
        kept: list[Tensor] = []
        cut: list[Tensor | None] = []
        start = 0
        for part in parts:
            stop = start + part.positions
            apart = _apart(joint[start:stop], part, 3, heads)
            query, key, value = apart
            query.mul_(query.shape[-1] ** -0.5)
            scores = torch.bmm(query, key.transpose(1, 2))
            if part.bias is not None:
                scores.view(part.rows, heads, part.length, part.length).add_(part.bias)
            weights = scores.float().softmax(dim=-1).to(joint.dtype)
            mask = masks.cut(weights.numel(), share, joint.dtype).view(weights.shape) if share else None
            _together(torch.bmm(weights if mask is None else weights * mask, value), made[start:stop], part, heads)
            kept += [apart, weights]
            cut.append(mask)
            start = stop
        ctx.save_for_backward(*kept)
        ctx.parts, ctx.heads, ctx.cut = parts, heads, cut
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        slope, kept = gradients[0], iter(ctx.saved_tensors)
        made = slope.new_empty((len(slope), 3 * slope.shape[1]))
        start = 0
        for part, mask in zip(ctx.parts, ctx.cut, strict=True):
            stop = start + part.positions
            apart, weights = next(kept), next(kept)
            query, key, value = apart
            outer = _apart(slope[start:stop], part, 1, ctx.heads)[0]
            inner = torch.empty_like(apart)
            torch.bmm((weights if mask is None else weights * mask).transpose(1, 2), outer, out=inner[2])
            by_weights = torch.bmm(outer, value.transpose(1, 2))
            if mask is not None:
                by_weights.mul_(mask)
            scores = torch._softmax_backward_data(by_weights.float(), weights.float(), -1, torch.float32).to(slope.dtype)
            torch.bmm(scores, key, out=inner[0]).mul_(query.shape[-1] ** -0.5)
            torch.bmm(scores.transpose(1, 2), query, out=inner[1])
            _together(inner, made[start:stop], part, ctx.heads)
            start = stop
        return made, None, None, None, None


def _apart(joint: Tensor, part: Stretch, count: int, heads: int) -> Tensor:
    """Positions [T, count H] as [count, rows * heads, length, H / heads]; slopes of padding are 0."""
    if part.source is not None and part.padding is not None:
        joint = joint.index_select(0, part.source)
        if count == 1:
            joint.index_fill_(0, part.padding, 0)
    found = joint.view(part.rows, part.length, count, heads, -1).permute(2, 0, 3, 1, 4)
    return found.clone(memory_format=torch.contiguous_format).view(count, part.rows * heads, part.length, -1)


def _together(found: Tensor, target: Tensor, part: Stretch, heads: int) -> None:
    """Write [count, rows * heads, length, D] into positions [T, count H]."""
    apart = found.view(-1, part.rows, heads, part.length, found.shape[-1]).permute(1, 3, 0, 2, 4)
    if part.slots is None:
        target.view(apart.shape).copy_(apart)
    else:
        torch.index_select(apart.reshape(-1, target.shape[1]), 0, part.slots, out=target)
