"""Heads on a transformer's body: one row of logits for two texts, read together or each alone, or one for each token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
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
        self.steps: nn.Parameter | None = None  # scores of steps from tag to tag, where those are taught too (loop/chaining.py)

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


class Twin(nn.Module):
    """Two texts read apart by one body: their vectors u and v, then two layers on u, v, |u - v| and u * v (Reimers and Gurevych
    2019 with the product beside).

    It takes the rows of both texts together (``[CLS] first [SEP] second [SEP]`` with their types) and takes them apart itself, so
    that the encoder of a pair is one whatever reads it; a text's vector does not depend on the text beside it.
    """

    def __init__(self, body: nn.Module, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.inner, self.head = nn.Linear(4 * width, width), nn.Linear(width, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits [B, K] of ids, mask and types int64 [B, L]."""
        ids, mask = apart(input_ids, attention_mask, token_type_ids)
        both = self.vectors(ids, mask)
        rows = input_ids.shape[0]
        first, second = both[:rows], both[rows:]
        joined = torch.cat([first, second, (first - second).abs(), first * second], dim=1)
        found: Tensor = self.head(self.dropout(nn.functional.gelu(self.inner(self.dropout(joined)))))
        return found

    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of a text's states, [B, H]."""
        states = states_of(self.body(input_ids=input_ids, attention_mask=attention_mask))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    def operations(self, batch: Batch) -> float:
        """As of ``Headed``: two texts a row."""
        if not isinstance(self.body, EncoderBody):
            return 0.0
        second = (batch.arrays["token_type_ids"] * batch.arrays["attention_mask"]).sum(dim=1)
        return self.body.operations(torch.cat([batch.arrays["attention_mask"].sum(dim=1) - second, second + 1]))


def apart(input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Both texts of every row as rows of their own, int64 [2 B, L]: all first ones, then all second ones, each begun as a text
    alone is."""
    beside = token_type_ids * attention_mask
    first = attention_mask - beside
    begin = first.sum(dim=1, keepdim=True) - 1  # the mark before the second text makes room for the one that begins a text
    places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    second = (places <= beside.sum(dim=1, keepdim=True)).to(input_ids.dtype)
    taken = input_ids.gather(1, ((places + begin) * second).clamp(min=0, max=input_ids.shape[1] - 1))
    taken = torch.where(places == 0, input_ids[:, :1], taken)
    ids, mask = torch.cat([input_ids, taken]), torch.cat([first, second])
    if torch.onnx.is_in_onnx_export():
        return ids, mask
    longest = int(mask.sum(dim=1).max())  # both are shorter than the row that held them
    return ids[:, :longest], mask[:, :longest]


def twin(config: dict[str, Any], folder: Path | None, outputs: int, dropout: float, attention: str) -> tuple[Twin, dict[str, Any]]:
    """The same as ``headed`` for two texts that are read apart."""
    whole, config = headed(config, folder, outputs, dropout, attention, False)
    return Twin(whole.body, whole.head.in_features, outputs, dropout), config
