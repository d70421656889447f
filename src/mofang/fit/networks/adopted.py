"""A classifier of the transformers library, called as our own networks are."""

from __future__ import annotations

from torch import Tensor, nn


class Adopted(nn.Module):
    """Logits [B, K] (or [B, L, K]) of ids and mask int64 [B, L]; ``order`` names the classes' places in the model, in ours."""

    def __init__(self, body: nn.Module, order: list[int] | None = None) -> None:
        super().__init__()
        self.body, self.order = body, order

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the model's own head says."""
        logits: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits if self.order is None else logits[..., self.order]


class AdoptedVectors(nn.Module):
    """Vectors float32 [B, D] of length 1: the mean of an encoder's states over a text's own positions, or its first state."""

    def __init__(self, body: nn.Module, *, first: bool = False) -> None:
        super().__init__()
        self.body, self.first = body, first

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the folder's own pooling says."""
        states: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.first:
            return nn.functional.normalize(states[:, 0].float(), dim=1)
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9), dim=1)
