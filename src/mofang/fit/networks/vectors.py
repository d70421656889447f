"""Networks that make a vector of length 1 out of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mofang.fit.loop.objective import Batch
from mofang.fit.networks.encoder import EncoderBody
from mofang.fit.networks.transformer import from_config, from_folder, states_of


class TermVectors(nn.Module):
    """The weighted sum of a text's n-gram embeddings, projected; row 0 of the table is padding."""

    def __init__(self, terms: int, dims: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(terms, dims) / dims**0.5)
        with torch.no_grad():
            self.table[0] = 0

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Vectors float32 [B, D] of ids int64 [B, L] and weights float32 [B, L]."""
        if torch.onnx.is_in_onnx_export():
            summed = (weights.unsqueeze(1) @ self.table[ids]).squeeze(1)
        else:
            summed = nn.functional.embedding_bag(ids, self.table, per_sample_weights=weights, mode="sum", padding_idx=0)
        return nn.functional.normalize(summed, dim=1)

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step: each term of each text weighed and summed, and twice that backward."""
        terms = sum(float((value != 0).sum()) for name, value in batch.arrays.items() if name.endswith("weights"))
        return 6.0 * terms * self.table.shape[1]


class TextVectors(nn.Module):
    """The mean of an encoder's last hidden states over a text's own positions, projected to ``dims`` (0: as wide as the
    encoder is)."""

    def __init__(self, body: nn.Module, width: int, dims: int) -> None:
        super().__init__()
        self.body = body
        self.projection = nn.Linear(width, dims, bias=False) if dims else nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors float32 [B, D] of ids and mask int64 [B, L]."""
        states = states_of(self.body(input_ids=input_ids, attention_mask=attention_mask))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return nn.functional.normalize(self.projection(pooled).float(), dim=1)

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step on this batch of texts that belong together; 0 where the body is not
        ours (the loop then estimates)."""
        if not isinstance(self.body, EncoderBody):
            return 0.0
        masks = [value for name, value in batch.arrays.items() if name.endswith("attention_mask")]
        return sum(self.body.operations(mask.sum(dim=1)) for mask in masks)


def body_of(config: dict[str, Any], folder: Path | None, attention: str) -> tuple[nn.Module, int]:
    """An encoder's body and its width: with the weights of a folder, or of this shape and randomly initialised."""
    whole = from_config(config, 1, 0.0, attention) if folder is None else from_folder(folder, 1, 0.0, attention)[0]
    return whole.body, int(whole.head.in_features)
