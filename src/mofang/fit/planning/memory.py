"""Bytes of a training run by what they are for: weights, gradients, optimiser, activations, logits, and the rest.

Activations are counted from what autograd keeps of a layer, in the way of Korthikanti et al. 2022 (who count 16-bit layers
with dropout); the constants below reproduce the bytes that were measured on MiniLM with torch's saved-tensor hooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mofang.fit.planning.modules import Network, Shape

Precision = Literal["fp32", "bf16"]
MB = 2.0**20
# Bytes of optimiser state for each trained weight (fp32 state).
OPTIMISERS = {"adamw": 8, "adam": 8, "sgd": 4, "adagrad": 4, "gd": 0, "muon": 4, "adamw8bit": 2}
LOGIT_BYTES = {"fp32": 12, "bf16": 10}  # logits, their float32 copy, their gradient


@dataclass(frozen=True)
class How:
    """How a network is trained, as far as memory is concerned.

    ``rows`` x ``length`` is a micro-batch; ``copies`` are further copies of all weights that the loop keeps (its best ones,
    an average). ``master`` bf16 weights keep an fp32 copy; False: the weights are fp32 and are cast for each product.
    """

    rows: float
    length: float
    source: float = 0.0
    optimiser: str = "adamw"
    precision: Precision = "fp32"
    adapt: Literal["all", "lora", "head"] = "all"
    rank: int = 8
    adapted: int = 2  # matrices a layer that carry an adapter
    recompute: bool = False
    fused: bool = False  # attention that never writes the scores (SDPA, flash)
    dropout: bool = False
    logits: bool = False  # every position has a row as wide as the vocabulary
    copies: int = 0
    master: bool = False
    shards: int = 1  # FSDP (ZeRO-3): weights, gradients and state are divided among so many
    tensor: int = 1  # tensor parallel: the same, and the inner activations
    pipeline: int = 1  # stages: each has its share of the layers


@dataclass(frozen=True)
class Memory:
    """Bytes on one device by component."""

    parts: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """All of it, in bytes."""
        return sum(self.parts.values())

    def to_mb(self) -> dict[str, float]:
        """Megabytes (2^20) by component."""
        return {name: round(value / MB, 1) for name, value in self.parts.items()}


def training_memory(network: Network, how: How, base: float = 0.0, data: float = 0.0) -> Memory:
    """What one device holds at the peak of a step; ``base`` is the process with its libraries, ``data`` the examples."""
    divided = how.shards * how.tensor * how.pipeline
    held = network.parameters / divided
    trained = trained_parameters(network, how) / divided
    half = how.master and how.precision == "bf16"
    frozen = how.adapt != "all"
    weights = held * (2 if half or (frozen and how.precision == "bf16") else 4)
    parts = {
        "weights": weights + (trained * 4 if half else 0.0) + (trained * 4 if frozen else 0.0),
        "gradients": trained * 4,
        "optimiser": trained * OPTIMISERS[how.optimiser],
        "copies": how.copies * held * 4,
        "merged": 2 * held * 4 if how.adapt == "lora" and how.copies else 0.0,  # with its adapters, and as a file
        "activations": activation_bytes(network, how),
        "logits": logit_bytes(network.shape, how),
        "casts": _casts(network, how),
        "unsharded": _unsharded(network, how),
        "process": base,
        "data": data,
    }
    return Memory({name: value for name, value in parts.items() if value})


def trained_parameters(network: Network, how: How) -> float:
    """Weights that learn: all, the adapters (rank x (in + out) of each), or the head."""
    if how.adapt == "all":
        return float(network.parameters)
    head = sum(one.parameters for one in network.modules if one.side == "text")
    if how.adapt == "head":
        return float(head)
    shape = network.shape
    return float(head + shape.layers * how.adapted * how.rank * (shape.hidden + shape.heads * shape.head_width))


def layer_bytes(shape: Shape, how: How) -> float:
    """What autograd keeps of one layer for one micro-batch.

    In units of positions x hidden: the layer's input, q, k and v, what attention gives, both inputs of the norms, the input
    of the feed-forward part and what its activation takes and gives. Plain attention keeps its probabilities too. Tensor
    parallel layers divide their norms by position (sequence parallel).
    """
    positions = how.rows * max(how.length, how.source)
    hidden, inner, wide = shape.hidden, shape.inner / how.tensor, shape.heads * shape.head_width / how.tensor
    keyed = shape.key_heads * shape.head_width / how.tensor
    size = 2 if how.precision == "bf16" else 4
    mixed = how.precision == "bf16"
    outside = 2 * hidden * 4 + 2 * hidden * size + (hidden * 4 if mixed else 0)
    within = (2 * wide + 2 * keyed + (4 if shape.gated else 2) * inner) * size
    pairs = how.rows * shape.heads / how.tensor * max(how.length, how.source) ** 2
    scores = 0.0 if how.fused else pairs * size
    dropped = (positions * 2 * hidden + (0.0 if how.fused else 2 * pairs)) * 4 if how.dropout else 0.0
    return positions * (outside / how.tensor + within) + scores + dropped


def activation_bytes(network: Network, how: How) -> float:
    """All layers of one device: whole, or (recomputed) each layer's input and one layer whole."""
    shape = network.shape
    layers = shape.layers / how.pipeline
    one = layer_bytes(shape, how)
    kept = how.rows * max(how.length, how.source) * shape.hidden * (2 if how.master and how.precision == "bf16" else 4)
    if how.adapt == "head":
        return one
    if how.recompute:
        return layers * kept * how.pipeline + one
    # Adapters spare the inputs of frozen products, which nothing will ask for again.
    share = 0.7 if how.adapt == "lora" else 1.0
    return share * layers * one * how.pipeline + kept * 3  # a pipeline's first stage holds one micro-batch for each stage


def logit_bytes(shape: Shape, how: How) -> float:
    """Rows as wide as the vocabulary: for small widths the largest tensors of a step."""
    if not how.logits:
        return 0.0
    return how.rows * how.length * shape.vocabulary / how.tensor * LOGIT_BYTES[how.precision]


def _casts(network: Network, how: How) -> float:
    """bf16 copies of the multiplied fp32 weights, which autocast makes and keeps for the backward pass."""
    if how.precision != "bf16" or how.master or how.adapt != "all":
        return 0.0
    return network.multiplied / (how.tensor * how.pipeline * how.shards) * 2.0


def _unsharded(network: Network, how: How) -> float:
    """Two layers' weights in bf16, gathered for the products: the one at work and the one fetched ahead."""
    if how.shards == 1:
        return 0.0
    each = sum(one.multiplied for one in network.modules if "head" not in one.name) / network.shape.layers
    return 2 * each / how.tensor * 2.0


def report(memory: Memory, limit: float) -> dict[str, Any]:
    """As a plan shows it."""
    return {
        "mb": memory.to_mb(),
        "total_mb": round(memory.total / MB, 1),
        "limit_mb": round(limit / MB, 1),
        "fits": memory.total <= limit,
    }
