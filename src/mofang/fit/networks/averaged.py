"""Averaged n-gram embeddings with a dense head (fastText, Joulin et al. 2017, with a deeper head)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedNetwork(nn.Module):
    """The weighted sum of a text's n-gram embeddings, then a hidden layer; row 0 of the table is padding.

    With ``sparse`` a step touches only the rows of the table that its batch read (fit/loop/rows.py): a fiftieth of them.
    """

    def __init__(self, terms: int, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.sparse = False
        self.table = nn.Parameter(torch.randn(terms, width) / width**0.5)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, hidden)
        self.head = nn.Linear(hidden, classes)
        with torch.no_grad():
            self.table[0] = 0

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Logits [B, K] of ids int64 [B, L] and weights float32 [B, L]."""
        pooled = nn.functional.embedding_bag(
            ids, self.table, per_sample_weights=weights, mode="sum", padding_idx=0, sparse=self.sparse
        )
        found: Tensor = self.head(self.dropout(torch.relu(self.hidden(self.dropout(pooled)))))
        return found
