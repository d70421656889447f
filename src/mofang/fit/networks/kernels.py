"""Small pieces that training spends its time in, as cheap as plain torch allows: casts, GELU, dropout, loss over words.

Everything here gives the same function as the plain way, to the rounding of the precision it works in; only which
instructions compute it differs, and that the machine's probe chooses (fit/loop/probe.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK_LOGITS = 4 * 2**20  # logits of a chunk: 8 MB in bf16, so that they stay near the processor
CHUNK_LOGITS_CARD = 128 * 2**20  # on a card: large enough to fill it
TANH_SCALE, TANH_CUBE = 1.5957691216057308, 0.044715  # 2 sqrt(2 / pi); Hendrycks and Gimpel 2016
BYTE = 256
POOL, PLACES = 2**21, 256  # elements of a pool of masks; places drawn at once


def working_dtype(device: torch.device) -> torch.dtype:
    """The precision to compute in: that of autocast where it is on, else float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def tracing() -> bool:
    """True while a graph is being exported, which must not depend on the values of its sample."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


class _Joined(torch.autograd.Function):
    """Weights one below the other in another precision: one copy there, one copy back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> Tensor:
        ctx.rows, ctx.dtypes = [len(one) for one in weights], [one.dtype for one in weights]
        return joined_now(weights, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        parts = gradients[0].split_with_sizes(ctx.rows)
        return None, *(part.to(kind) for part, kind in zip(parts, ctx.dtypes, strict=True))


def joined_now(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Several weights one below the other in ``dtype``, by one copy and no way back."""
    if len(weights) == 1:
        return weights[0].to(dtype)
    rows = [len(one) for one in weights]
    made = weights[0].new_empty((sum(rows), *weights[0].shape[1:]), dtype=dtype)
    for one, place in zip(weights, made.split_with_sizes(rows), strict=True):
        place.copy_(one)
    return made


def joined(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Several weights (or biases) as one in ``dtype``; gradients reach each in its own precision.

    The weights stay apart, under the names that everybody knows; the copy that joins them is the one that casts them.
    """
    if len(weights) == 1 and weights[0].dtype == dtype:
        return weights[0]
    if not any(one.requires_grad for one in weights) or not torch.is_grad_enabled():
        return torch.cat([one.to(dtype) for one in weights]) if len(weights) > 1 else weights[0].to(dtype)
    found: Tensor = _Joined.apply(dtype, *weights)  # type: ignore[no-untyped-call]
    return found


class Frozen:
    """Copies of weights that are not trained, in the precision of the work: made once, not in every step."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[tuple[Any, ...], Tensor]] = {}

    def joined(self, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """As ``joined``, kept while the weights do not change."""
        if any(one.requires_grad for one in weights) or tracing() or torch.is_inference_mode_enabled():
            return joined(weights, dtype)
        key = tuple(map(id, weights))
        state = (dtype, *((one.data_ptr(), one._version) for one in weights))
        known = self._kept.get(key)
        if known is None or known[0] != state:
            known = self._kept[key] = (state, joined(weights, dtype))
        return known[1]

    def __deepcopy__(self, memo: Any) -> Frozen:
        return Frozen()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}


def gelu(values: Tensor, kind: str, variant: str = "native") -> Tensor:
    """GELU, ``kind`` "exact" (by the error function) or "tanh", computed in one of several ways.

    ``native`` is torch's own; ``float`` computes in float32; ``sigmoid`` writes the tanh form as x sigmoid(2u), the same
    function.
    """
    approximate = "tanh" if kind == "tanh" else "none"
    if variant == "float" and values.dtype != torch.float32:
        return functional.gelu(values.float(), approximate=approximate).to(values.dtype)
    if variant == "sigmoid" and kind == "tanh":
        inner = values * (TANH_SCALE + TANH_SCALE * TANH_CUBE * values * values)
        return values * torch.sigmoid(inner)
    return functional.gelu(values, approximate=approximate)


class Masks:
    """The dropout masks of one forward pass, cut from one pool at random places.

    Drawing a random number for every element costs more than the matrix product beside it. So a million are drawn once a
    pass, one byte each, and every use takes a stretch from a place of its own: within a mask all elements are
    independent. A share is rounded to 1/256 and what remains is scaled up by just that, so means stay exact. Everything
    comes from torch's generator, so it follows from the seed of the step. Where ``way`` is "native", or on a card, each use
    is torch's own dropout.
    """

    def __init__(self, way: str, training: bool) -> None:
        self.way, self.training = way, training
        self._pools: dict[tuple[float, torch.dtype], tuple[Tensor, list[int]]] = {}

    def drop(self, values: Tensor, share: float) -> Tensor:
        """The values with about this share of them set to zero, in training."""
        if not self.training or share <= 0:
            return values
        if self.way == "native" or values.device.type != "cpu":
            return functional.dropout(values, share, True)
        return values * self.cut(values.numel(), share, values.dtype).view(values.shape)

    def cut(self, count: int, share: float, dtype: torch.dtype) -> Tensor:
        """So many factors on the processor: 0 for about this share of them, else what keeps the mean."""
        if self.way == "native":
            return torch.empty(count, dtype=dtype).bernoulli_(1 - share).div_(1 - share)
        if count > POOL // 2:
            return _mask(count, share, dtype)
        if (share, dtype) not in self._pools:
            places = torch.randint(0, POOL // 2, (PLACES,)).tolist()
            self._pools[share, dtype] = _mask(POOL, share, dtype), places
        pool, places = self._pools[share, dtype]
        start = places.pop() if places else int(torch.randint(0, POOL // 2, ()))
        return pool[start : start + count]


def _mask(count: int, share: float, dtype: torch.dtype) -> Tensor:
    """So many elements, each 0 with this share, else what keeps the mean."""
    dropped = min(BYTE - 1, max(1, round(share * BYTE)))
    drawn = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)[:count]
    kept = drawn.clamp_(dropped - 1, dropped).sub_(dropped - 1)  # as drawn >= dropped, which casts six times as slowly
    return kept.to(dtype).mul_(BYTE / (BYTE - dropped))


def cheap_dropout(values: Tensor, share: float, training: bool, variant: str = "bytes") -> Tensor:
    """One dropout by itself, from one random byte an element (see ``Masks``)."""
    return Masks(variant, training).drop(values, share)


class _VocabularyLoss(torch.autograd.Function):
    """Sum of cross-entropies of ``states @ weight.T``; the gradients are made on the way, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        total = states.new_zeros((), dtype=torch.float32)
        wanted = states.requires_grad or weight.requires_grad
        by_states = torch.empty_like(states) if wanted else None
        by_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wanted else None
        for start in range(0, len(states), rows):
            some, labels = states[start : start + rows], targets[start : start + rows]
            logits = (some @ weight.t()).float()
            largest = logits.amax(dim=1, keepdim=True)
            logits.sub_(largest)
            right = logits.gather(1, labels[:, None])
            logits.exp_()
            sums = logits.sum(dim=1, keepdim=True)
            total += (sums.log() - right).sum()
            if by_states is None or by_weight is None:
                continue
            logits.div_(sums)
            logits.scatter_add_(1, labels[:, None], torch.full_like(right, -1.0))
            slopes = logits.to(states.dtype)
            torch.mm(slopes, weight, out=by_states[start : start + rows])
            by_weight += slopes.t() @ some
        if wanted:
            ctx.save_for_backward(by_states, by_weight)
            ctx.dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        by_states, by_weight = ctx.saved_tensors
        factor = gradients[0]
        return by_states * factor.to(by_states.dtype), (by_weight * factor).to(ctx.dtype), None, None


def vocabulary_loss(states: Tensor, weight: Tensor, targets: Tensor, ignored: int = -100) -> Tensor:
    """Sum of cross-entropies over a vocabulary, float32 scalar, without keeping the logits [T, V].

    ``states`` [T, H] and ``weight`` [V, H] in the precision of the work, ``targets`` int64 [T]; positions with
    ``ignored`` count nothing.
    """
    chosen = targets != ignored
    if not bool(chosen.all()):
        states, targets = states[chosen], targets[chosen]
    if not len(targets):
        return states.sum().float() * 0.0
    rows = max(16, (CHUNK_LOGITS if states.device.type == "cpu" else CHUNK_LOGITS_CARD) // len(weight))
    found: Tensor = _VocabularyLoss.apply(states, weight, targets, rows)  # type: ignore[no-untyped-call]
    return found


def layer_norm(values: Tensor, norm: nn.LayerNorm) -> Tensor:
    """A LayerNorm whose weights follow the precision of its input (sums are float32 inside either way)."""
    weight, bias = norm.weight.to(values.dtype), norm.bias.to(values.dtype)
    return functional.layer_norm(values, norm.normalized_shape, weight, bias, norm.eps)
