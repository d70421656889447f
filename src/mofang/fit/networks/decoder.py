"""Decoders of the GPT-2 and Llama types that train fast: joined projections, packed documents, no logits kept.

Weights carry the names of transformers' ``GPT2LMHeadModel`` and ``LlamaForCausalLM``, so checkpoints go both ways (GPT-2 keeps
its projections as [in, out], which is the library's habit). ``document_ids`` keep attention within each document of a
packed row; a cache makes sampling one position at a time cheap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.core.errors import MofangError
from mofang.fit.loop.objective import Batch
from mofang.fit.loop.probe import Choices, choices
from mofang.fit.networks.attention import causal_bias, document_bias, padding_bias
from mofang.fit.networks.encoder import take_weights
from mofang.fit.networks.gpt2 import Gpt2Body
from mofang.fit.networks.kernels import Masks, vocabulary_loss, working_dtype
from mofang.fit.networks.llama import LlamaBody, rotations
from mofang.fit.networks.sight import INITIAL, Cache, DecoderShape, Sight

__all__ = ["Cache", "Decoder", "load_decoder", "positions_of"]


class Decoder(nn.Module):
    """A decoder with its head; ``config`` is the transformers configuration it was made from."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.shape = dict(config), DecoderShape.of(config)
        body: Gpt2Body | LlamaBody = Gpt2Body(self.shape) if self.shape.kind == "gpt2" else LlamaBody(self.shape)
        self._where = "transformer" if self.shape.kind == "gpt2" else "model"
        self.add_module(self._where, body)
        if not self.shape.tied:
            self.lm_head = nn.Linear(self.shape.width, self.shape.vocabulary, bias=False)
            nn.init.normal_(self.lm_head.weight, std=INITIAL)

    @property
    def body(self) -> Any:
        """The part below the head."""
        return self._modules[self._where]

    @property
    def head(self) -> nn.Parameter:
        """The weight of the head [V, H]: the table itself where they are tied."""
        found: nn.Parameter = self.body.table.weight if self.shape.tied else self.lm_head.weight
        return found

    def states(self, input_ids: Tensor, document_ids: Tensor | None = None, position_ids: Tensor | None = None,
               cache: Cache | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """Last hidden states [B, L, H] in the precision of the work, of ids int64 [B, L].

        ``document_ids`` int64 [B, L] part packed documents; ``attention_mask`` [B, K] is 0 on padding (at the
        left for sampling); ``cache`` is read and lengthened.
        """
        length = input_ids.shape[1]
        before = cache.length if cache else 0
        if before + length > self.shape.positions:
            raise MofangError("text-too-long-for-network", length=before + length, most=self.shape.positions)
        dtype, chosen = working_dtype(input_ids.device), choices()
        with torch.autocast(input_ids.device.type, enabled=False):
            if position_ids is None:
                position_ids = positions_of(input_ids, document_ids, attention_mask, before)
            sight = self._sight(input_ids, document_ids, position_ids, cache, attention_mask, dtype, chosen)
            states = self.body.enter(input_ids, position_ids, dtype, sight.masks)
            for number, layer in enumerate(self.body.blocks):
                states = layer(states, sight, number)
            found: Tensor = self.body.leave(states)
            return found

    def _sight(self, ids: Tensor, documents: Tensor | None, positions: Tensor, cache: Cache | None,
               mask: Tensor | None, dtype: torch.dtype, chosen: Choices) -> Sight:
        length, kind, bias = ids.shape[1], "causal", None
        if mask is not None and not bool(mask.all()):
            kind, bias = "documents", padding_bias(mask, dtype)
        if documents is not None and bool((documents != documents[:, :1]).any()):
            inner = document_bias(documents, dtype)
            kind, bias = "documents", inner if bias is None else torch.minimum(inner, bias)
        if bias is not None:
            bias = causal_bias(torch.empty((0, 0, length, 1), dtype=dtype, device=ids.device), bias.shape[-1], bias)
        rotation = rotations(positions, self.shape, dtype) if self.shape.kind == "llama" else None
        return Sight(chosen, kind, bias, rotation, cache, Masks(chosen.dropout, self.training))

    def forward(self, input_ids: Tensor, document_ids: Tensor | None = None, position_ids: Tensor | None = None,
                cache: Cache | None = None, attention_mask: Tensor | None = None) -> Tensor:
        """Logits float32 [B, L, V]."""
        states = self.states(input_ids, document_ids, position_ids, cache, attention_mask)
        with torch.autocast(input_ids.device.type, enabled=False):
            return functional.linear(states, self.head.to(states.dtype)).float()

    def loss(self, input_ids: Tensor, targets: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Sum of cross-entropies of the next tokens ``targets`` int64 [B, L] (-100: not counted), without keeping logits."""
        states = self.states(input_ids, document_ids)
        with torch.autocast(input_ids.device.type, enabled=False):
            flat = states.reshape(-1, states.shape[-1])
            return vocabulary_loss(flat, self.head.to(states.dtype), targets.reshape(-1))

    def operations(self, batch: Batch) -> float:
        """Floating-point operations of a training step: 6 a weight in a matrix (the head's too), half of attention."""
        rows, length = next(one.shape for one in batch.arrays.values() if one.ndim == 2)
        weights = sum(one.numel() for one in self.parameters() if one.ndim > 1) - (0 if self.shape.tied else self.head.numel())
        weights -= 0 if self.shape.kind == "llama" else self.shape.positions * self.shape.width
        return float((6 * weights + 6 * self.shape.layers * self.shape.width * length) * rows * length)


def positions_of(ids: Tensor, documents: Tensor | None, mask: Tensor | None, before: int) -> Tensor:
    """The place of each token in its own document int64 [B, L]; padding before a text counts nothing."""
    rows, length = ids.shape
    if mask is not None:
        return (mask.long().cumsum(dim=1) - 1).clamp_(min=0)[:, -length:]
    places = torch.arange(before, before + length, device=ids.device).expand(rows, length)
    if documents is None:
        return places
    first = torch.ones_like(documents, dtype=torch.bool)
    first[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(first, places, torch.zeros_like(places)).cummax(dim=1).values


def load_decoder(source: Path | Mapping[str, Any], *, dropout: float | None = None) -> Decoder:
    """A decoder from a folder (config.json and model.safetensors), or randomly started from a configuration."""
    if isinstance(source, Path):
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    else:
        config = dict(source)
    if dropout is not None:
        names = ("resid_pdrop", "attn_pdrop", "embd_pdrop") if config.get("model_type") == "gpt2" else ("attention_dropout",)
        config |= dict.fromkeys(names, dropout)
    network = Decoder(config)
    if isinstance(source, Path):
        from safetensors.torch import load_file

        take_weights(network, load_file(source / "model.safetensors"))
    return network
