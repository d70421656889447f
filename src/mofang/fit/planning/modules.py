"""Parameters and floating-point operations of a network, module by module, from its configuration alone.

Counted per module because the law of thumb 6·N·D counts an embedding's lookup as work: for a small encoder, half of whose
weights are its vocabulary, it is off by two. Checked in the tests against torch's own counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mofang.core.errors import MofangError

Side = Literal["source", "target", "text", "patches"]
BERT_LIKE = ("bert", "roberta", "xlm-roberta", "electra")
LLAMA_LIKE = ("llama", "mistral", "qwen2")
KNOWN = (*BERT_LIKE, "gpt2", *LLAMA_LIKE, "t5", "mt5", "vit")


@dataclass(frozen=True)
class Module:
    """A part of a network: ``parameters`` are its weights, ``multiplied`` those of them that every position is multiplied
    with (a lookup is none; a head tied to the embedding multiplies weights that are counted there).

    ``side`` says how often: for every position of the source or the target, once for each text, or for every position of
    a picture but its first.
    """

    name: str
    parameters: int
    multiplied: int = 0
    side: Side = "target"


@dataclass(frozen=True)
class Attention:
    """Scores and their sums of ``layers`` layers: ``width`` is heads x head width; no weights, 4·width operations for each
    pair of positions, of which a causal mask throws one half away."""

    layers: int
    heads: int
    width: int
    queries: Side = "target"
    keys: Side = "target"
    causal: bool = False


@dataclass(frozen=True)
class Shape:
    """What memory and parallelism need besides counts: layers (of both stacks), widths, and how the layers are built."""

    kind: str
    layers: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    positions: int
    gated: bool = False
    causal: bool = False


@dataclass(frozen=True)
class Network:
    """A network as the planner sees it."""

    shape: Shape
    modules: tuple[Module, ...]
    attention: tuple[Attention, ...]

    @property
    def parameters(self) -> int:
        """All weights, each once."""
        return sum(one.parameters for one in self.modules)

    @property
    def multiplied(self) -> int:
        """Weights that every position is multiplied with: what 6·N·D should have for N."""
        return sum(one.multiplied for one in self.modules if one.side != "text")

    def forward_flops(self, length: float, source: float = 0.0) -> float:
        """Operations of one text forward: ``length`` positions (of the target), ``source`` those of the encoder's side."""
        counts = _counts(length, source)
        dense = sum(2.0 * one.multiplied * counts[one.side] for one in self.modules)
        return dense + self.attention_flops(length, source)

    def attention_flops(self, length: float, source: float = 0.0) -> float:
        """The part of it that grows with the square of the length, counted whole (kernels may skip the causal half)."""
        counts = _counts(length, source)
        return sum(4.0 * one.layers * one.width * counts[one.queries] * counts[one.keys] for one in self.attention)

    def training_flops(self, length: float, source: float = 0.0, adapt: str = "all", recompute: bool = False) -> float:
        """Operations of one text forward and backward: backward costs twice the forward pass.

        With ``adapt`` "lora" no gradient of the frozen weights is computed (4·N instead of 6·N), with "head" none at all
        below the head; ``recompute`` adds a second forward pass (activation checkpointing).
        """
        forward = self.forward_flops(length, source)
        attention = self.attention_flops(length, source)
        if adapt == "head":
            return forward
        backward = (forward - attention) * (1.0 if adapt == "lora" else 2.0) + 2.0 * attention
        return forward + backward + (forward if recompute else 0.0)

    def to_rows(self, length: float, source: float = 0.0) -> list[dict[str, Any]]:
        """A line for each module: parameters, multiplied weights, operations of one text forward."""
        counts = _counts(length, source)
        rows: list[dict[str, Any]] = [
            {
                "module": one.name,
                "parameters": one.parameters,
                "multiplied": one.multiplied,
                "forward_flops": 2.0 * one.multiplied * counts[one.side],
            }
            for one in self.modules
        ]
        for one in self.attention:
            name = "scores (causal: half is masked)" if one.causal else "scores"
            flops = 4.0 * one.layers * one.width * counts[one.queries] * counts[one.keys]
            rows.append({"module": name, "parameters": 0, "multiplied": 0, "forward_flops": flops})
        return rows


def count(config: Mapping[str, Any], *, classes: int = 0, head: str = "", pooler: bool = False) -> Network:
    """A transformers configuration as a counted network.

    ``head`` is "lm" (every position is multiplied with the vocabulary), "classes" (a linear layer of ``classes`` for each
    text), or "" for the body alone. Raises ``plan-unknown-model`` for a kind that is not counted here.
    """
    kind = str(config.get("model_type", ""))
    if kind in BERT_LIKE:
        found = _bert(config, head, pooler)
    elif kind == "gpt2":
        found = _gpt2(config, head)
    elif kind in LLAMA_LIKE:
        found = _llama(config, head)
    elif kind in ("t5", "mt5"):
        found = _t5(config, head)
    elif kind == "vit":
        found = _vit(config, pooler)
    else:
        raise MofangError("plan-unknown-model", kind=kind or "-", known=", ".join(KNOWN))
    if head != "classes" or not classes:
        return found
    hidden = found.shape.hidden
    last = Module("classes", hidden * classes + classes, hidden * classes, "text")
    return Network(found.shape, (*found.modules, last), found.attention)


def _bert(config: Mapping[str, Any], head: str, pooler: bool) -> Network:
    hidden, layers = _number(config, "hidden_size", 768), _number(config, "num_hidden_layers", 12)
    heads, inner = _number(config, "num_attention_heads", 12), _number(config, "intermediate_size", 4 * hidden)
    vocabulary, positions = _number(config, "vocab_size", 30522), _number(config, "max_position_embeddings", 512)
    types = _number(config, "type_vocab_size", 2)
    modules = [
        Module("embeddings", (vocabulary + positions + types) * hidden + 2 * hidden),
        Module("attention", layers * 4 * (hidden**2 + hidden), layers * 4 * hidden**2),
        Module("feed forward", layers * (2 * hidden * inner + inner + hidden), layers * 2 * hidden * inner),
        Module("norms", layers * 4 * hidden),
    ]
    if pooler:
        modules.append(Module("pooler", hidden**2 + hidden, hidden**2, "text"))
    if head == "lm":
        modules.append(Module("head (tied)", hidden**2 + 3 * hidden + vocabulary, hidden**2 + hidden * vocabulary))
    shape = Shape(str(config["model_type"]), layers, hidden, inner, heads, heads, hidden // heads, vocabulary, positions)
    return Network(shape, tuple(modules), (Attention(layers, heads, hidden),))


def _gpt2(config: Mapping[str, Any], head: str) -> Network:
    hidden, layers = _number(config, "n_embd", 768), _number(config, "n_layer", 12)
    heads, inner = _number(config, "n_head", 12), _number(config, "n_inner", 0) or 4 * hidden
    vocabulary, positions = _number(config, "vocab_size", 50257), _number(config, "n_positions", 1024)
    modules = [
        Module("embeddings", (vocabulary + positions) * hidden),
        Module("attention", layers * (4 * hidden**2 + 4 * hidden), layers * 4 * hidden**2),
        Module("feed forward", layers * (2 * hidden * inner + inner + hidden), layers * 2 * hidden * inner),
        Module("norms", layers * 4 * hidden + 2 * hidden),
    ]
    if head == "lm":
        modules.append(_head(config, vocabulary, hidden, tied=True))
    shape = Shape("gpt2", layers, hidden, inner, heads, heads, hidden // heads, vocabulary, positions, causal=True)
    return Network(shape, tuple(modules), (Attention(layers, heads, hidden, causal=True),))


def _llama(config: Mapping[str, Any], head: str) -> Network:
    kind = str(config["model_type"])
    hidden, layers = _number(config, "hidden_size", 4096), _number(config, "num_hidden_layers", 32)
    heads, inner = _number(config, "num_attention_heads", 32), _number(config, "intermediate_size", 11008)
    key_heads = _number(config, "num_key_value_heads", 0) or heads
    wide = _number(config, "head_dim", 0) or hidden // heads
    vocabulary, positions = _number(config, "vocab_size", 32000), _number(config, "max_position_embeddings", 2048)
    projected = hidden * wide * (2 * heads + 2 * key_heads)
    biases = wide * (heads + 2 * key_heads) if kind == "qwen2" else 0
    if config.get("attention_bias"):
        biases = wide * (heads + 2 * key_heads) + hidden
    inner_biases = 2 * inner + hidden if config.get("mlp_bias") else 0
    modules = [
        Module("embeddings", vocabulary * hidden),
        Module("attention", layers * (projected + biases), layers * projected),
        Module("feed forward", layers * (3 * hidden * inner + inner_biases), layers * 3 * hidden * inner),
        Module("norms", layers * 2 * hidden + hidden),
    ]
    if head == "lm":
        modules.append(_head(config, vocabulary, hidden, tied=False))
    shape = Shape(kind, layers, hidden, inner, heads, key_heads, wide, vocabulary, positions, gated=True, causal=True)
    return Network(shape, tuple(modules), (Attention(layers, heads, heads * wide, causal=True),))


def _t5(config: Mapping[str, Any], head: str) -> Network:
    hidden, layers = _number(config, "d_model", 512), _number(config, "num_layers", 6)
    below = _number(config, "num_decoder_layers", 0) or layers
    heads, wide = _number(config, "num_heads", 8), _number(config, "d_kv", 64)
    inner, vocabulary = _number(config, "d_ff", 2048), _number(config, "vocab_size", 32128)
    gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
    projections, fed = 4 * hidden * heads * wide, (3 if gated else 2) * hidden * inner
    buckets = _number(config, "relative_attention_num_buckets", 32) * heads
    modules = [
        Module("embeddings", vocabulary * hidden),
        Module("encoder attention", layers * projections + buckets, layers * projections, "source"),
        Module("encoder feed forward", layers * fed, layers * fed, "source"),
        Module("decoder attention", below * projections + buckets, below * projections),
        Module("cross attention", below * projections // 2, below * projections // 2),
        Module("cross attention, keys and values", below * projections // 2, below * projections // 2, "source"),
        Module("decoder feed forward", below * fed, below * fed),
        Module("norms", (2 * layers + 1 + 3 * below + 1) * hidden),
    ]
    if head == "lm":
        modules.append(_head(config, vocabulary, hidden, tied=True))
    attention = (
        Attention(layers, heads, heads * wide, "source", "source"),
        Attention(below, heads, heads * wide, causal=True),
        Attention(below, heads, heads * wide, "target", "source"),
    )
    shape = Shape(
        str(config["model_type"]),
        layers + below,
        hidden,
        inner,
        heads,
        heads,
        wide,
        vocabulary,
        _number(config, "n_positions", 512),
        gated,
        causal=True,
    )
    return Network(shape, tuple(modules), attention)


def _vit(config: Mapping[str, Any], pooler: bool) -> Network:
    hidden, layers = _number(config, "hidden_size", 768), _number(config, "num_hidden_layers", 12)
    heads, inner = _number(config, "num_attention_heads", 12), _number(config, "intermediate_size", 3072)
    patch, channels = _number(config, "patch_size", 16), _number(config, "num_channels", 3)
    positions = (_number(config, "image_size", 224) // patch) ** 2 + 1
    modules = [
        Module("patches", channels * patch**2 * hidden + hidden, channels * patch**2 * hidden, "patches"),
        Module("embeddings", (positions + 1) * hidden),
        Module("attention", layers * 4 * (hidden**2 + hidden), layers * 4 * hidden**2),
        Module("feed forward", layers * (2 * hidden * inner + inner + hidden), layers * 2 * hidden * inner),
        Module("norms", layers * 4 * hidden + 2 * hidden),
    ]
    if pooler:
        modules.append(Module("pooler", hidden**2 + hidden, hidden**2, "text"))
    shape = Shape("vit", layers, hidden, inner, heads, heads, hidden // heads, 0, positions)
    return Network(shape, tuple(modules), (Attention(layers, heads, hidden),))


def _counts(length: float, source: float) -> dict[str, float]:
    """How many positions each side of a network has."""
    return {"target": length, "source": source, "text": 1.0, "patches": length - 1}


def _head(config: Mapping[str, Any], vocabulary: int, hidden: int, *, tied: bool) -> Module:
    if config.get("tie_word_embeddings", tied):
        return Module("head (tied)", 0, vocabulary * hidden)
    return Module("head", vocabulary * hidden, vocabulary * hidden)


def _number(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < min(default, 1):  # 0 where that means "as usual"
        raise MofangError("plan-config-wrong", name=name, value=repr(value)[:60])
    return value
