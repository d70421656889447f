"""Layers that stay as they are, for all of the training or until an epoch: ``embeddings,encoder.layer.0-3@2``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from mofang.core.errors import MofangError

SHOWN = 12
RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Frozen:
    """Parameters whose dotted name holds ``parts`` in a row; trained from epoch ``until`` on (from 0; None: never)."""

    parts: tuple[str, ...]
    until: int | None

    @classmethod
    def read(cls, text: str) -> Frozen:
        """``encoder.layer.0-3@2``: layers 0 to 3, thawed after two epochs."""
        name, _, epoch = text.partition("@")
        return cls(tuple(name.split(".")), int(epoch) if epoch else None)

    def holds(self, name: str) -> bool:
        """Whether it names this parameter."""
        pieces = name.split(".")
        starts = range(len(pieces) - len(self.parts) + 1)
        return any(all(map(_fits, self.parts, pieces[start:])) for start in starts)


def _fits(part: str, piece: str) -> bool:
    span = RANGE.fullmatch(part)
    if span is None:
        return part == piece
    return piece.isdigit() and int(span[1]) <= int(piece) <= int(span[2])


def freezing(network: nn.Module, texts: tuple[str, ...]) -> dict[str, int | None]:
    """For each frozen parameter the epoch in which it thaws (None: never); a name that fits none is refused."""
    names = [name for name, value in network.named_parameters() if value.requires_grad]
    found: dict[str, int | None] = {}
    for text in texts:
        rule = Frozen.read(text)
        held = [name for name in names if rule.holds(name)]
        if not held:
            shown = sorted({name.rpartition(".")[0] or name for name in names})
            layers = ", ".join(shown[:SHOWN]) + (" …" if len(shown) > SHOWN else "")
            raise MofangError("freeze-unknown", wanted=text, layers=layers)
        found |= dict.fromkeys(held, rule.until)
    if names and set(names) <= {name for name, until in found.items() if until is None or until > 0}:
        raise MofangError("freeze-everything", wanted=",".join(texts))
    return found


def thaw(network: nn.Module, frozen: dict[str, int | None], epoch: int) -> None:
    """Let exactly those frozen parameters learn whose epoch has come."""
    for name, value in network.named_parameters():
        if name in frozen:
            until = frozen[name]
            value.requires_grad_(until is not None and epoch >= until)
