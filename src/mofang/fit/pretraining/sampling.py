"""A few lines that a generator writes by itself: the quickest look at what it has learnt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mofang.fit.pretraining.network import Language


def sample_lines(network: Language, tokenizer: Any, begin: int, end: int, *, count: int, length: int, temperature: float,
                 top: int, seed: int, prompt: str = "") -> list[str]:
    """``count`` texts of at most ``length`` tokens, each token drawn from the ``top`` likeliest by its probability.

    The same seed writes the same lines. Nothing of the data is a prompt.
    """
    chance = torch.Generator().manual_seed(seed)
    given = tokenizer.encode(prompt, add_special_tokens=False).ids if prompt else []
    written = torch.tensor([[begin, *given]] * count)
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for _ in range(length):
            following = _next(network, written.to(device)).cpu()
            values, places = (following / temperature).topk(min(top, following.shape[-1]))
            drawn = torch.multinomial(torch.softmax(values, dim=-1), 1, generator=chance)
            written = torch.cat([written, places.gather(1, drawn)], dim=1)
            if bool((written[:, 1:] == end).any(dim=1).all()):
                break
    return [tokenizer.decode(_until(row[1:].tolist(), end), skip_special_tokens=True).strip() for row in written]


def _next(network: Language, ids: Tensor) -> Tensor:
    """Logits [B, V] of what follows."""
    rows, length = ids.shape
    where = torch.arange(rows, device=ids.device) * length + length - 1
    found: Tensor = network(where=where, input_ids=ids)
    return found


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
