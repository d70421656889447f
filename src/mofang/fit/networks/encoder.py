"""A BERT-type encoder that trains fast: fused projections, no work on padding, weights cast once a step.

Weights carry the names of transformers' ``BertModel``, so its checkpoints load here and ours load there; the last
hidden states agree to 1e-5 in float32. Query, key and value are joined in the copy that casts them. Where rows differ in
length, everything but attention runs on the texts' own positions, end to end (Portes et al. 2023, arXiv 2312.17482, "unpadding").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mofang.core.errors import MofangError
from mofang.fit.loop.probe import Choices, choices
from mofang.fit.networks.attention import attend, padding_bias
from mofang.fit.networks.kernels import Frozen, Masks, gelu, layer_norm, tracing, working_dtype
from mofang.fit.networks.mixing import Stretch, mixed, stretches
from mofang.fit.networks.projection import project

GELUS = {"gelu": "exact", "gelu_python": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
PADDING_LEAST = 0.02  # below this share of padding, leaving it out costs more than it saves
INITIAL = 0.02


@dataclass(frozen=True)
class Shape:
    """The measures of an encoder, from a transformers configuration."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    types: int = 2
    epsilon: float = 1e-12
    activation: str = "exact"
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    padding: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From a configuration as transformers writes it; raises ``encoder-unsuited``."""
        if reason := unsuited(config):
            raise MofangError("encoder-unsuited", reason=reason)
        width = int(config.get("hidden_size", 768))
        return cls(
            int(config.get("vocab_size", 30522)),
            width,
            int(config.get("num_hidden_layers", 12)),
            int(config.get("num_attention_heads", 12)),
            int(config.get("intermediate_size", 3072)),
            int(config.get("max_position_embeddings", 512)),
            int(config.get("type_vocab_size", 2)),
            float(config.get("layer_norm_eps", 1e-12)),
            GELUS[config.get("hidden_act", "gelu")],
            float(config.get("hidden_dropout_prob", 0.1)),
            float(config.get("attention_probs_dropout_prob", 0.1)),
            int(config.get("pad_token_id") or 0),
        )


def unsuited(config: Mapping[str, Any]) -> str:
    """Why a configuration is none of ours; "" where it suits."""
    if config.get("model_type") != "bert":
        return f"model_type {config.get('model_type')!r}"
    if config.get("hidden_act", "gelu") not in GELUS:
        return f"hidden_act {config['hidden_act']!r}"
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        return "positions that are not absolute, or a decoder"
    width, heads = int(config.get("hidden_size", 768)), int(config.get("num_attention_heads", 12))
    return f"hidden_size {width} is no multiple of {heads} heads" if width % heads else ""


@dataclass(frozen=True)
class Layout:
    """How the positions of a batch lie: [B, L] padded, or end to end without padding, from short rows to long ones.

    ``places`` (None: padded, all positions are worked on) are the texts' own places in the padded batch, ``parts`` the rows that
    attend together (() where a graph is exported or a card computes: then all do, with ``bias``).
    """

    rows: int
    length: int
    places: Tensor | None = None
    parts: tuple[Stretch, ...] = ()
    bias: Tensor | None = None

    @classmethod
    def of(cls, mask: Tensor | None, ids: Tensor, heads: int, dtype: torch.dtype) -> Layout:
        """The cheapest layout for ids [B, L] and a mask [B, L] that is 1 where a position counts."""
        rows, length = ids.shape
        if tracing() or torch.compiler.is_compiling() or ids.device.type != "cpu":
            return cls(rows, length, bias=None if mask is None else padding_bias(mask, dtype))
        whole = (Stretch(rows, length, rows * length),)
        if mask is None:
            return cls(rows, length, parts=whole)
        counts = mask.sum(dim=1)
        own = int(counts.sum())
        if own == rows * length:
            return cls(rows, length, parts=whole)
        if own == 0 or own > (1 - PADDING_LEAST) * rows * length:
            return cls(rows, length, parts=(replace(whole[0], bias=padding_bias(mask, dtype)),))
        order = counts.argsort(stable=True)
        found = (mask[order] != 0).nonzero()
        places = order[found[:, 0]] * length + found[:, 1]
        return cls(rows, length, places, stretches([one for one in counts[order].tolist() if one], heads, dtype))


class SelfAttention(nn.Module):
    """Holds the weights of query, key and value under their usual names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))


class Output(nn.Module):
    """A projection back to the width, then a LayerNorm over the sum with what went around."""

    def __init__(self, inner: int, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=shape.epsilon)


class Attention(nn.Module):
    """Self-attention with its output."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self = SelfAttention(shape.width)
        self.output = Output(shape.width, shape)


class Intermediate(nn.Module):
    """The wider projection of the feed-forward half."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.inner)


class Layer(nn.Module):
    """One layer of the encoder, normalised after each half as BERT is."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention = Attention(shape)
        self.intermediate = Intermediate(shape)
        self.output = Output(shape.inner, shape)
        self.frozen = Frozen()

    def forward(self, states: Tensor, layout: Layout, chosen: Choices, masks: Masks) -> Tensor:
        """States [T, H] or [B, L, H] in and out."""
        shape, own = self.shape, self.attention.self
        mixed = self._mixed(project(states, (own.query, own.key, own.value), self.frozen), layout, chosen, masks)
        mixed = masks.drop(project(mixed, (self.attention.output.dense,), self.frozen), shape.hidden_dropout)
        states = layer_norm(states + mixed, self.attention.output.LayerNorm)
        inner = project(states, (self.intermediate.dense,), self.frozen)
        inner = gelu(inner, shape.activation, chosen.gelu_of(shape.activation, inner.dtype))
        outer = masks.drop(project(inner, (self.output.dense,), self.frozen), shape.hidden_dropout)
        return layer_norm(states + outer, self.output.LayerNorm)

    def _mixed(self, joint: Tensor, layout: Layout, chosen: Choices, masks: Masks) -> Tensor:
        """What attention makes of queries, keys and values joined [..., 3H]."""
        shape = self.shape
        if layout.parts:
            flat = joint.view(-1, joint.shape[-1])
            return mixed(flat, layout.parts, shape.heads, shape.attention_dropout, chosen, masks).view(*joint.shape[:-1], -1)
        apart = joint.view(layout.rows, layout.length, 3, shape.heads, shape.width // shape.heads).permute(2, 0, 3, 1, 4)
        query, key, value = apart.unbind(0)
        kind = "full" if layout.bias is None else "padded"
        variant = "plain" if tracing() else chosen.attention(kind, layout.length, False, joint.dtype)
        dropout = shape.attention_dropout if self.training else 0.0
        found = attend(query, key, value, variant=variant, bias=layout.bias, dropout=dropout, masks=masks)
        return found.transpose(1, 2).reshape(*joint.shape[:-1], -1)


class Embeddings(nn.Module):
    """Words, positions and types, summed and normalised.

    With ``sparse`` the gradient of the words holds only the rows that a batch touched (fit/loop/rows.py).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.sparse = shape, False
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width, padding_idx=shape.padding)
        self.position_embeddings = nn.Embedding(shape.positions, shape.width)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=shape.epsilon)

    def forward(self, ids: Tensor, types: Tensor | None, layout: Layout) -> Tensor:
        """States [T, H] of a layout without padding, else [B, L, H]; float32."""
        positions = torch.arange(layout.length, device=ids.device)
        if layout.places is not None:
            ids, positions = ids.reshape(-1).index_select(0, layout.places), layout.places % layout.length
            types = None if types is None else types.reshape(-1).index_select(0, layout.places)
        words = functional.embedding(
            ids, self.word_embeddings.weight, self.word_embeddings.padding_idx, sparse=self.sparse
        )
        kinds = self.token_type_embeddings.weight[0] if types is None else self.token_type_embeddings(types)
        return layer_norm(words + kinds + self.position_embeddings(positions), self.LayerNorm)


class Layers(nn.Module):
    """The layers, one after the other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(shape) for _ in range(shape.layers))


class EncoderBody(nn.Module):
    """The encoder without a head; ``config`` is the transformers configuration it was made from."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.shape = dict(config), Shape.of(config)
        self.embeddings = Embeddings(self.shape)
        self.encoder = Layers(self.shape)
        self.apply(_start)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Last hidden states float32 [B, L, H] of ids int64 [B, L]; where the mask is 0 they mean nothing."""
        rows, length = input_ids.shape
        if not tracing() and length > self.shape.positions:
            raise MofangError("text-too-long-for-network", length=length, most=self.shape.positions)
        dtype, chosen = working_dtype(input_ids.device), choices()
        with torch.autocast(input_ids.device.type, enabled=False):
            layout = Layout.of(attention_mask, input_ids, self.shape.heads, dtype)
            states = self.embeddings(input_ids, token_type_ids, layout)
            masks = Masks(chosen.dropout, self.training)
            states = masks.drop(states.to(dtype), self.shape.hidden_dropout)
            for layer in self.encoder.layer:
                states = layer(states, layout, chosen, masks)
            states = states.float()
            if layout.places is not None:
                whole = states.new_zeros((rows * length, self.shape.width))
                states = whole.index_copy(0, layout.places, states)
            found: Tensor = states.view(rows, length, self.shape.width)
            return found

    def operations(self, lengths: Tensor) -> float:
        """Floating-point operations of a training step on rows of these lengths: 6 a weight of the layers and position, and
        attention's 12 layers width length^2; padding and the table's lookup count nothing."""
        shape, found = self.shape, lengths.double()
        weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.inner)
        return float(6 * weights * found.sum() + 12 * shape.layers * shape.width * (found**2).sum())


def _start(module: nn.Module) -> None:
    """Weights as BERT starts them: normal with deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx].detach())


def load_encoder(source: Path | Mapping[str, Any], *, dropout: float | None = None) -> EncoderBody:
    """An encoder from a folder (config.json and model.safetensors), or randomly started from a configuration.

    ``dropout`` (left out: the configuration's own) replaces both dropouts. Raises ``encoder-unsuited`` for a type that is
    not ours and ``encoder-incomplete`` where weights are missing or of another shape.
    """
    if isinstance(source, Path):
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    else:
        config = dict(source)
    if dropout is not None:
        config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    body = EncoderBody(config)
    if isinstance(source, Path):
        from safetensors.torch import load_file

        take_weights(body, load_file(source / "model.safetensors"))
    return body


def take_weights(body: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a checkpoint's weights by name, whatever stands before the names; heads and poolers are left aside."""
    wanted = body.state_dict()
    probe = next(iter(wanted))
    prefixes = [name.removesuffix(probe) for name in tensors if name.endswith(probe)]
    prefix = min(prefixes, key=len, default="")
    found = {name: tensors[prefix + name] for name in wanted if prefix + name in tensors}
    bad = [name for name in wanted if name not in found or found[name].shape != wanted[name].shape]
    if bad:
        raise MofangError("encoder-incomplete", missing=", ".join(bad[:3]), count=len(bad))
    body.load_state_dict(found)

