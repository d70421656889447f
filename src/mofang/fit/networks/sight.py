"""What the layers of a decoder share: its measures, the cache of keys and values, and what each position may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mofang.core.errors import MofangError
from mofang.fit.loop.probe import Choices
from mofang.fit.networks.attention import attend
from mofang.fit.networks.kernels import Masks

GELUS = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
INITIAL = 0.02


@dataclass(frozen=True)
class DecoderShape:
    """The measures of a decoder, from a transformers configuration; ``kind`` is "gpt2" or "llama"."""

    kind: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    positions: int
    epsilon: float
    activation: str
    dropout: float
    attention_dropout: float
    tied: bool
    theta: float
    head_width: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> DecoderShape:
        """From a configuration as transformers writes it; raises ``decoder-unsuited``."""
        if reason := unsuited(config):
            raise MofangError("decoder-unsuited", reason=reason)
        read = config.get
        if config["model_type"] == "gpt2":
            width, heads = int(read("n_embd", 768)), int(read("n_head", 12))
            return cls("gpt2", int(read("vocab_size", 50257)), width, int(read("n_layer", 12)), heads, heads,
                       int(read("n_inner") or 4 * width), int(read("n_positions", 1024)),
                       float(read("layer_norm_epsilon", 1e-5)), GELUS[read("activation_function", "gelu_new")],
                       float(read("resid_pdrop", 0.1)), float(read("attn_pdrop", 0.1)),
                       bool(read("tie_word_embeddings", True)), 0.0, width // heads)
        width, heads = int(read("hidden_size", 4096)), int(read("num_attention_heads", 32))
        rope = read("rope_parameters") or {}
        return cls("llama", int(read("vocab_size", 32000)), width, int(read("num_hidden_layers", 32)), heads,
                   int(read("num_key_value_heads") or heads), int(read("intermediate_size", 11008)),
                   int(read("max_position_embeddings", 2048)), float(read("rms_norm_eps", 1e-6)), "silu", 0.0,
                   float(read("attention_dropout", 0.0)), bool(read("tie_word_embeddings", False)),
                   float(rope.get("rope_theta") or read("rope_theta") or 10000.0), int(read("head_dim") or width // heads))


def unsuited(config: Mapping[str, Any]) -> str:
    """Why a configuration is none of ours; "" where it suits."""
    kind = config.get("model_type")
    if kind == "gpt2":
        if config.get("activation_function", "gelu_new") not in GELUS:
            return f"activation_function {config['activation_function']!r}"
        odd = config.get("scale_attn_by_inverse_layer_idx") or config.get("reorder_and_upcast_attn")
        return "attention scaled by layer" if odd or config.get("scale_attn_weights") is False else ""
    if kind == "llama":
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            return f"rope {rope.get('rope_type', rope.get('type'))!r}"
        if config.get("attention_bias") or config.get("mlp_bias"):
            return "biases"
        return "" if config.get("hidden_act", "silu") == "silu" else f"hidden_act {config['hidden_act']!r}"
    return f"model_type {kind!r}"


@dataclass
class Cache:
    """Keys and values of the positions that were read already, one pair [B, heads, K, D] a layer."""

    pairs: list[tuple[Tensor, Tensor]]

    @property
    def length(self) -> int:
        """Positions read."""
        return self.pairs[0][0].shape[2] if self.pairs else 0


@dataclass(frozen=True)
class Sight:
    """What the layers of one forward share: the ways chosen, rotations, what may be seen, and the cache."""

    chosen: Choices
    kind: str
    bias: Tensor | None
    rotation: tuple[Tensor, Tensor] | None
    cache: Cache | None
    masks: Masks


def seen(query: Tensor, key: Tensor, value: Tensor, sight: Sight, layer: int, dropout: float) -> Tensor:
    """Causal attention [B, heads, L, D] with the cache's keys before the own ones; shared keys are repeated."""
    if sight.cache is not None:
        pairs = sight.cache.pairs
        if layer < len(pairs):
            key, value = torch.cat([pairs[layer][0], key], dim=2), torch.cat([pairs[layer][1], value], dim=2)
            pairs[layer] = key, value
        else:
            pairs.append((key, value))
    if key.shape[1] != query.shape[1]:
        key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], dim=1) for one in (key, value))
    variant = sight.chosen.attention(sight.kind, query.shape[2], True, query.dtype)
    drop = dropout if sight.masks.training else 0.0
    causal = sight.bias is None
    return attend(query, key, value, variant=variant, bias=sight.bias, causal=causal, dropout=drop, masks=sight.masks)
