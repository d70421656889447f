"""AdamW that touches only the rows of a table which a batch read, and clips on the way.

The table of a vocabulary is half of a small encoder, and a batch reads a fiftieth of it; a dense gradient makes every step
pay for all of it. Where a gradient is sparse, only its rows are updated: their moments decay in the steps that touch them,
rows that no batch reads keep their values exactly (no weight decay, no drift by old momentum), and bias correction counts
the steps of the whole table. That is the rule of torch's ``SparseAdam`` and TensorFlow's LazyAdam, with decoupled weight
decay (Loshchilov and Hutter 2019). Dense gradients take torch's fused AdamW; the state has the same names, so checkpoints
do not tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class RowAdamW(torch.optim.AdamW):
    """AdamW for dense and sparse gradients alike."""

    def __init__(self, groups: Any, **settings: Any) -> None:
        super().__init__(groups, fused=True, **settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; parameters with sparse gradients are updated in the rows that these hold."""
        aside: list[tuple[nn.Parameter, Tensor]] = []
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is not None and one.grad.is_sparse:
                    self._rows(one, one.grad.coalesce(), group)
                    aside.append((one, one.grad))
                    one.grad = None
        found = super().step(closure)
        for one, gradient in aside:
            one.grad = gradient
        return found

    def _rows(self, table: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=table.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        step, (first, second) = float(state["step"]), group["betas"]
        rows, slopes = gradient.indices()[0], gradient.values()
        mean = state["exp_avg"].index_select(0, rows).lerp_(slopes, 1 - first)
        square = state["exp_avg_sq"].index_select(0, rows).mul_(second).addcmul_(slopes, slopes, value=1 - second)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        rate = float(group["lr"])
        scale = square.div_(1 - second**step).sqrt_().add_(group["eps"])
        values = table.index_select(0, rows).mul_(1 - rate * group["weight_decay"])
        table.index_copy_(0, rows, values.addcdiv_(mean, scale, value=-rate / (1 - first**step)))


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> float:
    """The norm of all gradients together, which are scaled down to ``most`` where it is larger (0: never).

    Sparse gradients count as what they sum up to. Nothing is written where nothing is clipped.
    """
    dense: list[Tensor] = []
    sparse: list[nn.Parameter] = []
    for one in parameters:
        if one.grad is None:
            continue
        if one.grad.is_sparse:
            one.grad = one.grad.coalesce()
            sparse.append(one)
        else:
            dense.append(one.grad)
    values = [one.grad.values() for one in sparse if one.grad is not None]
    norms = torch._foreach_norm([*dense, *values]) if dense or values else []
    if not norms:
        return 0.0
    norm = float(torch.linalg.vector_norm(torch.stack([one.float().to("cpu") for one in norms])))
    if most and norm > most:
        torch._foreach_mul_([*dense, *values], most / (norm + 1e-6))
    return norm


def touch_rows_only(network: nn.Module) -> bool:
    """Let every table that says it can (``sparse``) give sparse gradients; False where there is none.

    A table whose weights a head shares needs a dense gradient, and says so by having no ``sparse``.
    """
    found = False
    for module in network.modules():
        if "sparse" in module.__dict__ and not isinstance(module, nn.Embedding):
            module.sparse = found = True  # type: ignore[assignment]
    return found
