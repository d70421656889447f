"""A few lines that a generator writes by itself: the quickest look at what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mofang.fit.networks.language import Asked


@dataclass(frozen=True)
class Drawing:
    """``count`` texts of at most ``length`` tokens, each token drawn from the ``top`` likeliest by its probability."""

    count: int
    length: int
    temperature: float
    top: int
    seed: int
    prompt: str = ""


def sample_lines(network: Asked, tokenizer: Any, begin: int, end: int, drawing: Drawing) -> list[str]:
    """The lines; the same seed writes the same ones. Nothing of the data is a prompt."""
    chance = torch.Generator().manual_seed(drawing.seed)
    given = tokenizer.encode(drawing.prompt, add_special_tokens=False).ids if drawing.prompt else []
    written = torch.tensor([[begin, *given]] * drawing.count)
    length = min(drawing.length, network.positions - written.shape[1])
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for _ in range(length):
            following = _next(network, written.to(device)).cpu()
            values, places = (following / drawing.temperature).topk(min(drawing.top, following.shape[-1]))
            drawn = torch.multinomial(torch.softmax(values, dim=-1), 1, generator=chance)
            written = torch.cat([written, places.gather(1, drawn)], dim=1)
            if bool((written[:, 1:] == end).any(dim=1).all()):
                break
    return [tokenizer.decode(_until(row[1:].tolist(), end), skip_special_tokens=True).strip() for row in written]


def _next(network: Asked, ids: Tensor) -> Tensor:
    """Logits [B, V] of what follows."""
    rows, length = ids.shape
    where = torch.arange(rows, device=ids.device) * length + length - 1
    found: Tensor = network(where=where, input_ids=ids)
    return found


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
