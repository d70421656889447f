"""Heads on a transformer's body: one row of logits for two texts, or one for each token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mofang.fit.loop.objective import Batch
from mofang.fit.networks.encoder import EncoderBody
from mofang.fit.networks.transformer import from_config, from_folder, states_of


class Headed(nn.Module):
    """A body with one linear layer: on the mean of its states ([B, K]), or on ``each`` of them ([B, L, K])."""

    def __init__(self, body: nn.Module, width: int, outputs: int, dropout: float, each: bool) -> None:
        super().__init__()
        self.body, self.each = body, each
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Logits of ids, mask and types int64 [B, L]."""
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = states_of(self.body(input_ids=input_ids, attention_mask=attention_mask, **given))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        states = states * mask     # what a body says of padding differs between ways to compute it
        if not self.each:
            states = states.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        found: Tensor = self.head(self.dropout(states))
        return found

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step on this batch; 0 where the body is not ours (the loop then counts)."""
        if not isinstance(self.body, EncoderBody):
            return 0.0
        return self.body.operations(batch.arrays["attention_mask"].sum(dim=1))


def headed(
    config: dict[str, Any], folder: Path | None, outputs: int, dropout: float, attention: str, each: bool
) -> tuple[Headed, dict[str, Any]]:
    """The network, from a folder of pretrained weights or randomly initialised; and its configuration."""
    if folder is not None:
        network, config = from_folder(folder, outputs, dropout, attention)
    else:
        network = from_config(config, outputs, dropout, attention)
    return Headed(network.body, network.head.in_features, outputs, dropout, each), config
