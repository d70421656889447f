"""Nearest prototype in the space of a frozen encoder (Snell, Swersky and Zemel 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mofang.fit.networks.transformer import states_of


class NearestNetwork(nn.Module):
    """Cosine of a text's mean state with each class's prototype, times a scale: logits [B, K]."""

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.prototypes = nn.Parameter(torch.zeros(classes, width))
        self.scale = nn.Parameter(torch.ones(()))

    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the last states over a text's own positions, of length 1, [B, H]."""
        states = states_of(self.body(input_ids=input_ids, attention_mask=attention_mask))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return nn.functional.normalize(mean, dim=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B, K] of ids and mask int64 [B, L]."""
        return self.scale * (self.vectors(input_ids, attention_mask) @ self.prototypes.T)
