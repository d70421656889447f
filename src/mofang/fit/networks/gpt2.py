"""The layers of GPT-2 (Radford et al. 2019), under the names of its checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.fit.loop.probe import Choices
from mofang.fit.networks.kernels import Frozen, Masks, gelu, layer_norm
from mofang.fit.networks.products import Trained, suits
from mofang.fit.networks.sight import INITIAL, DecoderShape, Sight, seen


class Conv1D(nn.Module):
    """A linear layer whose weight is [in, out], as GPT-2's checkpoints have it."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(inner, outer)), nn.Parameter(torch.zeros(outer))
        self.frozen = Frozen()
        nn.init.normal_(self.weight, std=INITIAL)

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.weight.shape[0]

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.weight.shape[1]

    def forward(self, values: Tensor) -> Tensor:
        """The product, in the input's precision."""
        if self.weight.requires_grad and self.bias.requires_grad and suits(values, (self.weight, self.bias)):
            found: Tensor = Trained.apply(values, 0, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return found
        weight = self.frozen.joined([self.weight], values.dtype)
        return functional.linear(values, weight.t(), self.frozen.joined([self.bias], values.dtype))


class Gpt2Attention(nn.Module):
    """Self-attention of GPT-2."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.c_attn, self.c_proj = Conv1D(shape.width, 3 * shape.width), Conv1D(shape.width, shape.width)

    def forward(self, states: Tensor, sight: Sight, layer: int) -> Tensor:
        """States [B, L, H] in and out."""
        rows, length, width = states.shape
        apart = self.c_attn(states).view(rows, length, 3, self.shape.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = apart.unbind(0)
        mixed = seen(query, key, value, sight, layer, self.shape.attention_dropout)
        found: Tensor = self.c_proj(mixed.transpose(1, 2).reshape(rows, length, width))
        return found


class Gpt2Mlp(nn.Module):
    """The feed-forward half of GPT-2."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(shape.width, shape.inner), Conv1D(shape.inner, shape.width)
        self.kind = shape.activation

    def forward(self, states: Tensor, chosen: Choices) -> Tensor:
        """States [B, L, H] in and out."""
        inner = self.c_fc(states)
        found: Tensor = self.c_proj(gelu(inner, self.kind, chosen.gelu_of(self.kind, inner.dtype)))
        return found


class Gpt2Layer(nn.Module):
    """One layer, normalised before each half."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.ln_1, self.attn = nn.LayerNorm(shape.width, eps=shape.epsilon), Gpt2Attention(shape)
        self.ln_2, self.mlp = nn.LayerNorm(shape.width, eps=shape.epsilon), Gpt2Mlp(shape)

    def forward(self, states: Tensor, sight: Sight, layer: int) -> Tensor:
        """States [B, L, H] in and out."""
        drop = self.shape.dropout
        mixed = self.attn(layer_norm(states, self.ln_1), sight, layer)
        states = states + sight.masks.drop(mixed, drop)
        outer = self.mlp(layer_norm(states, self.ln_2), sight.chosen)
        return states + sight.masks.drop(outer, drop)


class Gpt2Body(nn.Module):
    """GPT-2 up to its last normalisation."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.wte, self.wpe = nn.Embedding(shape.vocabulary, shape.width), nn.Embedding(shape.positions, shape.width)
        self.h = nn.ModuleList(Gpt2Layer(shape) for _ in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width, eps=shape.epsilon)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=INITIAL)
        for name, one in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(one, std=INITIAL / (2 * shape.layers) ** 0.5)

    def enter(self, ids: Tensor, positions: Tensor, dtype: torch.dtype, masks: Masks) -> Tensor:
        """The first states [B, L, H]."""
        states = self.wte(ids) + self.wpe(positions)
        return masks.drop(states.to(dtype), self.shape.dropout)

    def leave(self, states: Tensor) -> Tensor:
        """The last states, normalised."""
        return layer_norm(states, self.ln_f)

    @property
    def table(self) -> nn.Embedding:
        """The table of the vocabulary."""
        return self.wte

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers."""
        return self.h
