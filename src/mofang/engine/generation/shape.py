"""What a decoder of the GPT or Llama type looks like, read from its configuration; and what cannot be served, said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mofang.core.errors import MofangError

ROTARY = ("llama", "mistral", "qwen2", "qwen3")
GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder. ``window`` 0 sees everything before; ``theta`` only where no table of rotations is given."""

    kind: Literal["gpt2", "llama"]
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int
    vocabulary: int
    epsilon: float
    activation: str
    theta: float = 10_000.0
    window: int = 0
    queries_normed: bool = False
    scales: tuple[float, ...] = ()  # of the attention of each layer; empty: one over the root of the head's width

    @property
    def cache_width(self) -> int:
        """A head's width in the cache: the operator for attention wants a multiple of 8, or of 16 where it rotates."""
        least = 16 if self.kind == "llama" else 8
        return -(-self.head_width // least) * least

    def cache_bytes(self, context: int) -> int:
        """Bytes of keys and values of one row of this length, float32."""
        return 2 * 4 * self.layers * self.kv_heads * self.cache_width * context

    def attention_scale(self, layer: int) -> float:
        """What queries times keys are multiplied with."""
        return self.scales[layer] if self.scales else self.head_width**-0.5


def shape_of(config: Mapping[str, Any]) -> DecoderShape:
    """The shape that a transformers configuration describes; raises ``generator-unsupported`` for what the graph lacks."""
    kind = str(config.get("model_type"))
    if kind == "gpt2":
        return _gpt2(config)
    if kind not in ROTARY:
        raise MofangError("generator-unsupported", part=f"model_type {kind}")
    activation = str(config.get("hidden_act") or "silu")
    if activation != "silu":
        raise MofangError("generator-unsupported", part=f"hidden_act {activation}")
    width, heads = int(config.get("hidden_size", 4096)), int(config.get("num_attention_heads", 32))
    layers = int(config.get("num_hidden_layers", 32))
    sliding = kind == "mistral" or bool(config.get("use_sliding_window"))
    kinds = set(config.get("layer_types") or ())
    if len(kinds) > 1:
        raise MofangError("generator-unsupported", part="layer_types " + ", ".join(sorted(kinds)))
    made = DecoderShape(
        "llama", layers, heads, int(config.get("num_key_value_heads") or heads), int(config.get("head_dim") or width // heads),
        width, int(config["vocab_size"]), float(config.get("rms_norm_eps", 1e-6)), activation, theta=_theta(config),
        window=int(config.get("sliding_window") or 0) if sliding else 0, queries_normed=kind == "qwen3",
    )
    if made.head_width % (16 if made.queries_normed else 2 if made.kind == "llama" else 1):
        raise MofangError("generator-unsupported", part=f"heads of width {made.head_width}")
    return made


def _theta(config: Mapping[str, Any]) -> float:
    """The base of the rotations, wherever a version of the library writes it; scaled ones come as a table."""
    inside = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return float(config.get("rope_theta") or inside.get("rope_theta") or 10_000.0)


def _gpt2(config: Mapping[str, Any]) -> DecoderShape:
    width, heads, layers = int(config.get("n_embd", 768)), int(config.get("n_head", 12)), int(config.get("n_layer", 12))
    activation = str(config.get("activation_function") or "gelu_new")
    if activation not in (*GELU, "relu"):
        raise MofangError("generator-unsupported", part=f"activation_function {activation}")
    plain = 1.0 if config.get("scale_attn_weights") is False else (width // heads) ** -0.5
    by_layer = bool(config.get("scale_attn_by_inverse_layer_idx"))
    scales = tuple(plain / (number + 1 if by_layer else 1) for number in range(layers))
    return DecoderShape("gpt2", layers, heads, heads, width // heads, width, int(config.get("vocab_size", 50257)),
                        float(config.get("layer_norm_epsilon", 1e-5)), activation, scales=scales)
