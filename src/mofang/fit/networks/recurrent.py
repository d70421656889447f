"""Recurrent networks over tokens: plain (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
FAR = -1e4


class RecurrentNetwork(nn.Module):
    """Embeddings, recurrent layers, the mean and the maximum over a text's own positions, then outputs [B, K].

    With ``bidirectional`` a second network of each layer reads the text from its last token to its first. It is given the text
    turned round within its own length, so that padding is read last in both directions and never changes an answer.
    """

    def __init__(
        self, terms: int, outputs: int, *, kind: str, width: int, layers: int, bidirectional: bool, embedding: int, dropout: float
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(terms, embedding, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        with torch.no_grad():
            self.table.weight[0] = 0
        both = 2 if bidirectional else 1
        sizes = [embedding] + [width * both] * (layers - 1)
        self.ahead = nn.ModuleList(CELLS[kind](size, width, batch_first=True) for size in sizes)
        self.back = nn.ModuleList(CELLS[kind](size, width, batch_first=True) for size in sizes) if bidirectional else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * both * width, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Outputs [B, K] of ids and mask int64 [B, L]."""
        states = self.dropout(self.table(input_ids))
        turned = turning(attention_mask)
        for number, cell in enumerate(self.ahead):
            found = run(cell, states)
            if self.back is not None:
                found = torch.cat([found, turn(run(self.back[number], turn(states, turned)), turned)], dim=2)
            states = self.dropout(found)
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        most = (states * mask + (1 - mask) * FAR).max(dim=1).values
        answers: Tensor = self.head(self.dropout(torch.cat([mean, most], dim=1)))
        return answers


def run(cell: nn.Module, states: Tensor) -> Tensor:
    """All states [B, L, H] of a recurrent layer from zeros, which are written out so that a graph takes any batch."""
    assert isinstance(cell, nn.RNNBase)
    zeros = states.new_zeros(1, states.shape[0], cell.hidden_size)
    found: Tensor = cell(states, (zeros, zeros) if isinstance(cell, nn.LSTM) else zeros)[0]
    return found


def turning(mask: Tensor) -> Tensor:
    """For each position the one that takes its place when the text is turned round, padding left where it is; int64 [B, L]."""
    places = torch.cumsum(torch.ones_like(mask), dim=1) - 1
    lengths = mask.sum(dim=1, keepdim=True)
    return torch.where(mask > 0, lengths - 1 - places, places)


def turn(states: Tensor, turned: Tensor) -> Tensor:
    """States [B, L, H] in the order of ``turning``; turning twice gives the same again."""
    return torch.gather(states, 1, turned.unsqueeze(-1).expand(-1, -1, states.shape[2]))
