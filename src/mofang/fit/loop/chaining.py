"""A chain of tags that is taught with the network (conditional random field, Lafferty et al. 2001): its loss is minus the
logarithm of the probability of a text's whole sequence of tags, over all sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.engine.decode.chain import Chain

MOST = 3.0  # logarithm beyond which no step begins: what was never counted may still be learnt


def first_steps(tags: Sequence[Array], count: int) -> nn.Parameter:
    """Scores of steps from tag to tag, float32 [K, K], to begin with: how much likelier each is in the training texts than its
    tags alone would make it."""
    factors = Chain.of(tags, count).factors[:-1]
    scores = np.log(np.maximum(factors, np.exp(-MOST))).clip(-MOST, MOST)
    return nn.Parameter(torch.from_numpy(scores.astype(np.float32)))


def steps_of(network: nn.Module) -> Tensor | None:
    """The scores that a network is taught beside its own weights, where it is."""
    found = getattr(getattr(network, "module", network), "steps", None)
    return found if isinstance(found, Tensor) else None


def taught_chain(network: nn.Module) -> Chain | None:
    """The same as the chain that answers."""
    steps = steps_of(network)
    if steps is None:
        return None
    scores = steps.detach().float().cpu().numpy()
    return Chain(np.vstack([scores, np.zeros((1, scores.shape[1]), np.float32)]), 1.0, taught=True)


def chain_loss(logits: Tensor, tags: Tensor, steps: Tensor, nothing: int) -> Tensor:
    """Summed over the rows: logits [B, L, K], tags int64 [B, L] (``nothing``: a token without one, which is passed over), scores
    of steps [K, K]."""
    scores, wanted, used = _together(logits, tags, nothing)
    own = scores.gather(2, wanted[:, :, None])[:, :, 0]
    between = steps[wanted[:, :-1], wanted[:, 1:]]
    said = (own * used).sum() + (between * used[:, 1:]).sum()
    forth = scores[:, 0]
    for place in range(1, scores.shape[1]):
        further = torch.logsumexp(forth[:, :, None] + steps[None], dim=1) + scores[:, place]
        forth = torch.where(used[:, place, None], further, forth)
    return (torch.logsumexp(forth, dim=1) * used[:, 0]).sum() - said


def _together(logits: Tensor, tags: Tensor, nothing: int) -> tuple[Tensor, Tensor, Tensor]:
    """The tagged tokens of each row side by side: scores [B, P, K], tags int64 [B, P], and bool [B, P] where there is one."""
    present = tags != nothing
    counts = present.sum(dim=1)
    most = max(1, int(counts.max()))
    order = torch.argsort((~present).to(torch.int8), dim=1, stable=True)[:, :most]
    used = torch.arange(most, device=tags.device)[None] < counts[:, None]
    scores = logits.gather(1, order[:, :, None].expand(-1, -1, logits.shape[2]))
    return scores, tags.gather(1, order).clamp(min=0), used
