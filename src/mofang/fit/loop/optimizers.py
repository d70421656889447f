"""The optimizers of PyTorch behind the settings, and what goes on around a step: decay, L1, averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mofang.fit.loop.learning import Adagrad, Adam, Adamw, GradientDescent, Muon, Sgd
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.rows import RowAdamW

HEADS = ("head", "lm_head", "classifier", "score", "decoder")  # last layers, which Muon leaves to AdamW


class Steps:
    """One optimizer, or two where Muon takes the matrices; rates follow the schedule."""

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        self.parts = list(_parts(network, plan))

    def step(self, rate: float) -> None:
        """One step at this rate; a group with a rate of its own keeps its proportion to it."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group.get("proportion", 1.0)
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, by names that ``load`` reads again."""
        return {
            f"{number}/{place}/{name}": value
            for number, part in enumerate(self.parts)
            for place, values in part.state_dict()["state"].items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a state that ``tensors`` gave."""
        for number, part in enumerate(self.parts):
            whole = part.state_dict()
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                which, place, kind = name.split("/", 2)
                if int(which) == number:
                    states.setdefault(int(place), {})[kind] = value
            part.load_state_dict({"state": states, "param_groups": whole["param_groups"]})


def _parts(network: nn.Module, plan: Plan) -> Iterator[torch.optim.Optimizer]:
    chosen = plan.optimizer or Adamw()
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    if isinstance(chosen, Muon):
        hidden = set(_hidden(network))
        matrices = [value for name, value in named if name in hidden]
        if matrices:
            part = torch.optim.Muon(matrices, plan.learning_rate, plan.weight_decay, chosen.momentum, chosen.nesterov,
                                    adjust_lr_fn="match_rms_adamw")
            for group in part.param_groups:
                group["proportion"] = (chosen.rate or plan.learning_rate) / plan.learning_rate
            yield part
        named = [(name, value) for name, value in named if name not in hidden]
    groups = _groups([value for _, value in named], plan.weight_decay)
    if groups:
        yield _plain(chosen, groups, plan.learning_rate)


def _plain(chosen: Any, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    if isinstance(chosen, GradientDescent):
        return torch.optim.SGD(groups, lr=rate)
    if isinstance(chosen, Sgd):
        return torch.optim.SGD(groups, lr=rate, momentum=chosen.momentum, nesterov=chosen.nesterov and chosen.momentum > 0)
    if isinstance(chosen, Adagrad):
        return torch.optim.Adagrad(groups, lr=rate, eps=chosen.epsilon)
    assert isinstance(chosen, Adam | Adamw | Muon), chosen.tag
    numbers: dict[str, Any] = {"lr": rate, "betas": (chosen.beta1, chosen.beta2), "eps": chosen.epsilon}
    return torch.optim.Adam(groups, fused=True, **numbers) if isinstance(chosen, Adam) else RowAdamW(groups, **numbers)


def _groups(trained: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Biases and normalisation weights are not decayed."""
    decayed = [value for value in trained if value.ndim > 1]
    plain = [value for value in trained if value.ndim <= 1]
    groups = [{"params": some, "weight_decay": decay} for kind, decay in ((decayed, weight_decay), (plain, 0.0))
              for some in _apart(kind)]
    return [group for group in groups if group["params"]]


def _apart(values: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that are whole, and those that are divided over ranks: no fused step takes both at once."""
    divided = [value for value in values if hasattr(value, "placements")]
    return [value for value in values if not hasattr(value, "placements")], divided


def _hidden(network: nn.Module) -> Iterator[str]:
    """Names of the weight matrices between embeddings and heads; a tied matrix counts as its embedding."""
    embeddings = {id(value) for module in network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)
                  for value in module.parameters(recurse=False)}
    for name, value in network.named_parameters():
        if value.ndim == 2 and id(value) not in embeddings and not set(HEADS) & set(name.split(".")):
            yield name


def add_l1(network: nn.Module, l1: float) -> None:
    """Add the gradient of ``l1`` times the sum of absolute weights; biases and normalisation weights are left alone."""
    for value in network.parameters():
        if value.grad is not None and value.ndim > 1:
            value.grad.add_(value.detach().sign(), alpha=l1)


class Average:
    """An exponential moving average of the weights (Polyak and Juditsky 1992), which is what is judged and kept.

    It warms up: the decay of step t is at most (1 + t) / (10 + t), so that the first weights are soon forgotten.
    """

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, Tensor], step: int) -> None:
        """Take the weights after step ``step`` (from 0) in; whole numbers (counters) are taken as they are."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        floats = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floats], [weights[name] for name in floats], share)
        for name, value in weights.items():
            if not value.is_floating_point():
                self.weights[name].copy_(value)
