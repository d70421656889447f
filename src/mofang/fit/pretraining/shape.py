"""What is to be pretrained: a configuration, and weights drawn by the seed or read from a start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mofang.fit.pretraining.architecture import KINDS, Architecture, initialisation
from mofang.fit.pretraining.denoising import SENTINELS
from mofang.fit.pretraining.starting import (
    Start,
    kind_of,
    loaded,
    require_positions,
    require_same_vocabulary,
)

if TYPE_CHECKING:
    from mofang.fit.networks.language import Asked

FROM_A_START = 0.3  # of the rate that drawn weights get: what was learnt before is to be kept
LONG = 256  # from so many positions on, fused attention is faster here too (research of the machine probe)


@dataclass(frozen=True, eq=False)
class Shape:
    """A network that can be built again and again; ``missing`` names weights that the start did not hold."""

    architecture: Architecture
    config: dict[str, Any]
    begun: Start | None
    pairs: bool
    attention: str
    missing: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """bert, gpt, llama or t5."""
        return self.architecture.tag

    @property
    def learning_rate(self) -> float:
        """The rate where none is set: by the width, less for weights that have learnt already."""
        return self.architecture.learning_rate * (FROM_A_START if self.begun else 1.0)

    @property
    def weights_from(self) -> dict[str, Any]:
        """How the first weights came about, for the record."""
        if self.begun is None:
            return {"drawn": initialisation(self.config)}
        drawn = initialisation(self.config) if self.missing else ""
        return {"from": self.begun.name, "digest": self.begun.digest, "drawn": drawn, "missing": self.missing}

    def build(self) -> Asked:
        """The network; torch's generator is seeded already."""
        from mofang.fit.networks.language import drawn

        if self.begun is None:
            return drawn(self.config, self.pairs, self.attention)
        network: Asked
        network, missing = loaded(self.begun, self.config["model_type"], self.pairs, self.attention)
        self.missing[:] = missing
        return network

    def parameters(self) -> int:
        """How many weights there are; nothing is allocated."""
        import torch

        from mofang.fit.networks.language import plain

        with torch.device("meta"):
            return sum(value.numel() for value in plain(self.config, self.pairs, self.attention).parameters())


def shape_of(architecture: Architecture, begun: Start | None, weights: Mapping[str, float], about: Mapping[str, Any],
             tokenizer_json: str, context: int) -> Shape:
    """The shape that was chosen, or that of the start: checked against the shards' vocabulary and the context."""
    from mofang.fit.networks.encoder import unsuited

    attention = "sdpa" if "clm" in weights and context >= LONG else "eager"
    if set(weights) == {"mlm"} and (begun is None or not unsuited(begun.config)):
        attention = "own"  # orders of places and pairs of sentences are left to the library's body
    if begun is None:
        size = about["size"] + (SENTINELS if "denoise" in weights else 0)
        config = architecture.config(size, context, about["special"])
        return Shape(architecture, config, None, "nsp" in weights, attention)
    config = begun.config
    require_positions(config, context, begun.name)
    require_same_vocabulary(begun.name, begun.folder, tokenizer_json)
    width = next(int(config[name]) for name in ("hidden_size", "n_embd", "d_model") if name in config)
    depth = next(int(config[name]) for name in ("num_hidden_layers", "n_layer", "num_layers") if name in config)
    same = KINDS[kind_of(config)](depth=depth, width=width)  # type: ignore[call-arg]
    return Shape(same, config, begun, "nsp" in weights, attention)
