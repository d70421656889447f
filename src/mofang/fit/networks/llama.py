"""The layers of Llama (Touvron et al. 2023), under the names of its checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.fit.networks.kernels import Frozen, Masks
from mofang.fit.networks.projection import project
from mofang.fit.networks.sight import INITIAL, DecoderShape, Sight, seen


class RmsNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, states: Tensor) -> Tensor:
        """States [..., H] in and out."""
        return functional.rms_norm(states, (len(self.weight),), self.weight.to(states.dtype), self.epsilon)


class LlamaAttention(nn.Module):
    """Self-attention of Llama: rotated positions, keys shared by groups of heads."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape, self.frozen = shape, Frozen()
        queries, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, queries, bias=False)
        self.k_proj = nn.Linear(shape.width, keys, bias=False)
        self.v_proj = nn.Linear(shape.width, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.width, bias=False)

    def forward(self, states: Tensor, sight: Sight, layer: int) -> Tensor:
        """States [B, L, H] in and out."""
        shape, (rows, length, _) = self.shape, states.shape
        joint = project(states, (self.q_proj, self.k_proj, self.v_proj), self.frozen)
        joint = joint.view(rows, length, -1, shape.head_width).transpose(1, 2)
        query, key, value = joint.split_with_sizes([shape.heads, shape.key_heads, shape.key_heads], dim=1)
        assert sight.rotation is not None, "Llama's positions are rotations"
        query, key = rotated(query, *sight.rotation), rotated(key, *sight.rotation)
        mixed = seen(query, key, value, sight, layer, shape.attention_dropout)
        return project(mixed.transpose(1, 2).reshape(rows, length, -1), (self.o_proj,), self.frozen)


class LlamaMlp(nn.Module):
    """The gated feed-forward half of Llama (SwiGLU, Shazeer 2020)."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.frozen = Frozen()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """States [B, L, H] in and out."""
        gate, up = project(states, (self.gate_proj, self.up_proj), self.frozen).chunk(2, dim=-1)
        return project(functional.silu(gate) * up, (self.down_proj,), self.frozen)


class LlamaLayer(nn.Module):
    """One layer, normalised before each half."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(shape.width, shape.epsilon)
        self.self_attn = LlamaAttention(shape)
        self.post_attention_layernorm = RmsNorm(shape.width, shape.epsilon)
        self.mlp = LlamaMlp(shape)

    def forward(self, states: Tensor, sight: Sight, layer: int) -> Tensor:
        """States [B, L, H] in and out."""
        states = states + self.self_attn(self.input_layernorm(states), sight, layer)
        found: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return found


class LlamaBody(nn.Module):
    """Llama up to its last normalisation."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(LlamaLayer(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.width, shape.epsilon)
        for one in self.parameters():
            if one.ndim > 1:
                nn.init.normal_(one, std=INITIAL)

    def enter(self, ids: Tensor, positions: Tensor, dtype: torch.dtype, masks: Masks) -> Tensor:
        """The first states [B, L, H]."""
        found: Tensor = self.embed_tokens(ids).to(dtype)
        return found

    def leave(self, states: Tensor) -> Tensor:
        """The last states, normalised."""
        found: Tensor = self.norm(states)
        return found

    @property
    def table(self) -> nn.Embedding:
        """The table of the vocabulary."""
        return self.embed_tokens

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers."""
        return self.layers


def rotations(positions: Tensor, shape: DecoderShape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine [B, 1, L, D] of rotary positions (Su et al. 2021)."""
    steps = torch.arange(0, shape.head_width, 2, device=positions.device, dtype=torch.float32) / shape.head_width
    angles = positions[:, None, :, None].float() * (1.0 / shape.theta**steps)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Values [B, heads, L, D] turned by their positions."""
    left, right = values.chunk(2, dim=-1)
    return values * cosine + torch.cat([-right, left], dim=-1) * sine
