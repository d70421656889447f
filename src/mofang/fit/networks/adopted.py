"""A classifier of the transformers library, called as our own networks are."""

from __future__ import annotations

from torch import Tensor, nn


class Adopted(nn.Module):
    """Logits [B, K] of ids and mask int64 [B, L]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the model's own head says."""
        logits: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits
