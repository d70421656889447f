"""Which objectives are asked, and how often."""

from __future__ import annotations

from collections.abc import Sequence

from mofang.core.errors import MofangError
from mofang.core.nearest import nearest
from mofang.fit.pretraining.architecture import KINDS

# what each objective is called, and the special tokens that it needs
NEEDED = {"mlm": ("cls", "sep", "mask"), "plm": ("cls", "sep", "mask"), "nsp": ("cls", "sep"), "clm": (), "denoise": ("eos",)}


def weights_of(objectives: Sequence[str], kind: str) -> dict[str, float]:
    """What to ask and how often: ``("mlm:0.8", "nsp:0.2")``; the usual of the architecture where nothing is said."""
    suited = KINDS[kind].objectives
    found: dict[str, float] = {}
    for one in objectives or suited[:1]:
        name, colon, weight = one.partition(":")
        if name not in NEEDED:
            raise MofangError("objective-unknown", name=name, nearest=nearest(name, NEEDED), known=", ".join(sorted(NEEDED)))
        if name not in suited:
            raise MofangError("objective-unsuited", objective=name, architecture=kind, suited=", ".join(suited))
        try:
            share = float(weight) if colon else 1.0
        except ValueError:
            share = -1.0
        if not 0 < share < 1e6 or name in found:
            raise MofangError("objective-weight", given=one)
        found[name] = share
    return found
