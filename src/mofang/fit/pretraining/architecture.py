"""The shapes of pretrained networks: one dial gives depth, width, heads and learning rate; every part can be set.

A network of depth d is 64 d wide, with heads of 64: the ratio of GPT-2 and BERT at twelve layers. The learning rate falls
with the width as GPT-3's table does (Brown et al. 2020, table 2.1: 6e-4 at 768, 2e-4 at 2,048).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.core.errors import MofangError
from mofang.core.variant import Variant

Dial = Literal["tiny", "mini", "small", "medium", "base", "large"]
DEPTHS: dict[str, int] = {"tiny": 2, "mini": 4, "small": 6, "medium": 8, "base": 12, "large": 24}
HEAD = 64
RATE_BY_WIDTH, RATE_MOST = 0.46, 3e-3


class Architecture(Variant):
    """The choice of a shape. Each kind is a configuration of transformers, so any library reads what comes out."""

    objectives: ClassVar[tuple[str, ...]] = ()  # what it can be asked, the usual first
    frame: ClassVar[Literal["none", "cls", "bos"]] = "none"  # what its tokenizer puts round a text
    rate_share: ClassVar[float] = 1.0
    size: Dial
    depth: int
    width: int
    heads: int
    inner: int

    @property
    def layers(self) -> int:
        """How many layers."""
        return self.depth or DEPTHS[self.size]

    @property
    def wide(self) -> int:
        """How many values a position has."""
        return self.width or max(2, self.layers) * HEAD

    @property
    def headed(self) -> int:
        """How many heads share a layer's attention; they must divide the width."""
        found = self.heads or max(1, self.wide // HEAD)
        if self.wide % found:
            raise MofangError("heads-uneven", heads=found, width=self.wide)
        return found

    @property
    def learning_rate(self) -> float:
        """The highest learning rate, where none is set."""
        return self.rate_share * min(RATE_MOST, RATE_BY_WIDTH / self.wide)

    @abstractmethod
    def config(self, vocabulary: int, context: int, special: dict[str, int]) -> dict[str, Any]:
        """A transformers configuration, with its ``model_type``."""

    def _marks(self, special: dict[str, int]) -> dict[str, Any]:
        begin, end = begin_and_end(special)
        return {"pad_token_id": special.get("pad", 0), "bos_token_id": begin, "eos_token_id": end}


@dataclass(frozen=True, kw_only=True)
class Dialled(Architecture):
    """What every kind has: the dial, and the parts that it sets where they are 0."""

    size: Dial = "mini"
    depth: Annotated[int, Field(ge=0, le=200)] = 0
    width: Annotated[int, Field(ge=0)] = 0
    heads: Annotated[int, Field(ge=0)] = 0
    inner: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class Bert(Dialled):
    """An encoder of BERT's type, for classifying, labelling and searching texts."""

    tag: ClassVar[str] = "bert"
    objectives: ClassVar[tuple[str, ...]] = ("mlm", "plm", "nsp")
    frame: ClassVar[Literal["none", "cls", "bos"]] = "cls"
    rate_share: ClassVar[float] = 0.5

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    deviation: Annotated[float, Field(gt=0)] = 0.02

    def config(self, vocabulary: int, context: int, special: dict[str, int]) -> dict[str, Any]:
        """``BertConfig``."""
        return {
            "model_type": "bert", "vocab_size": vocabulary, "hidden_size": self.wide, "num_hidden_layers": self.layers,
            "num_attention_heads": self.headed, "intermediate_size": self.inner or 4 * self.wide,
            "max_position_embeddings": context, "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout, "initializer_range": self.deviation,
            "pad_token_id": special.get("pad", 0),
        }


@dataclass(frozen=True, kw_only=True)
class Gpt(Dialled):
    """A generator of GPT-2's type."""

    tag: ClassVar[str] = "gpt"
    objectives: ClassVar[tuple[str, ...]] = ("clm",)

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    deviation: Annotated[float, Field(gt=0)] = 0.02

    def config(self, vocabulary: int, context: int, special: dict[str, int]) -> dict[str, Any]:
        """``GPT2Config``."""
        return {
            "model_type": "gpt2", "vocab_size": vocabulary, "n_embd": self.wide, "n_layer": self.layers,
            "n_head": self.headed, "n_inner": self.inner or 4 * self.wide, "n_positions": context,
            "resid_pdrop": self.dropout, "embd_pdrop": self.dropout, "attn_pdrop": self.dropout,
            "activation_function": "gelu", "initializer_range": self.deviation, **self._marks(special),
        }


@dataclass(frozen=True, kw_only=True)
class Llama(Dialled):
    """A generator of Llama's type: rotary positions, RMS norms, gated units; ``groups`` are heads of keys and values."""

    tag: ClassVar[str] = "llama"
    objectives: ClassVar[tuple[str, ...]] = ("clm",)

    groups: Annotated[int, Field(ge=0)] = 0
    tied: bool = True
    deviation: Annotated[float, Field(gt=0)] = 0.02

    def config(self, vocabulary: int, context: int, special: dict[str, int]) -> dict[str, Any]:
        """``LlamaConfig``; the gated units are 8/3 of the width, so a layer has as many weights as GPT-2's."""
        return {
            "model_type": "llama", "vocab_size": vocabulary, "hidden_size": self.wide, "num_hidden_layers": self.layers,
            "num_attention_heads": self.headed, "num_key_value_heads": self.groups or self.headed,
            "intermediate_size": self.inner or 8 * round(self.wide / 3), "max_position_embeddings": context,
            "tie_word_embeddings": self.tied, "initializer_range": self.deviation, **self._marks(special),
        }


@dataclass(frozen=True, kw_only=True)
class T5(Dialled):
    """An encoder with a decoder of T5's type; ``depth`` counts the layers of each."""

    tag: ClassVar[str] = "t5"
    objectives: ClassVar[tuple[str, ...]] = ("denoise",)

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    factor: Annotated[float, Field(gt=0)] = 1.0

    def config(self, vocabulary: int, context: int, special: dict[str, int]) -> dict[str, Any]:
        """``T5Config``; positions are relative, so the context is no limit of the network."""
        return {
            "model_type": "t5", "vocab_size": vocabulary, "d_model": self.wide, "num_layers": self.layers,
            "num_decoder_layers": self.layers, "num_heads": self.headed, "d_kv": self.wide // self.headed,
            "d_ff": self.inner or 4 * self.wide, "dropout_rate": self.dropout, "initializer_factor": self.factor,
            "n_positions": context, "decoder_start_token_id": special.get("pad", 0), **self._marks(special),
        }


KINDS: dict[str, type[Architecture]] = Architecture.kinds


def begin_and_end(special: dict[str, int]) -> tuple[int, int]:
    """What a document begins with and ends in: [BOS] and [EOS], one of them where there is no other, else [CLS] and [SEP]."""
    begin, end = special.get("bos", special.get("eos")), special.get("eos", special.get("bos"))
    if begin is None or end is None:
        begin, end = special.get("cls"), special.get("sep")
    if begin is None or end is None:
        raise MofangError("special-missing", tokens="[BOS], [EOS]", objective="clm")
    return begin, end


def initialisation(config: dict[str, Any]) -> str:
    """How the weights were drawn, in words."""
    if config["model_type"] == "t5":
        return f"normal, deviations by the layers' widths as in Raffel et al. 2019, factor {config['initializer_factor']}"
    deeper = ", those into the residual stream divided by sqrt(2 layers)" if config["model_type"] == "gpt2" else ""
    return f"normal, deviation {config['initializer_range']}{deeper}; biases 0, norms 1"
