"""Writing: prompts in, continuations out, greedily or by chance, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mofang.core.errors import MofangError
from mofang.fit.networks.generator import Generator

ROWS_AT_ONCE = 16
TAIL_TOKENS = 32  # among which a stop string is looked for


@dataclass(frozen=True)
class Manner:
    """How to write: greedily (``temperature`` 0) or by chance among the ``top_k`` likeliest tokens (0: all) that together
    hold ``top_p`` of the probability; until a stop string, the model's own end, or ``max_tokens``."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """What followed a prompt: its token ids (without the end), and why it ended: "end", "stop" or "length"."""

    ids: list[int]
    finish: str
    text: str = ""


Decode = Callable[[Sequence[int]], str]


def write(
    network: Generator,
    prompts: Sequence[Sequence[int]],
    manner: Manner,
    ends: frozenset[int],
    decode: Decode,
    context: int,
    *,
    first: int = 0,
    tick: Callable[[int], None] = lambda _: None,
) -> list[Written]:
    """Continue token ids. A row's chance follows from the seed and its number (from ``first``) alone, whichever rows are
    beside it. Prompts keep their ends: see ``kept``.
    """
    network.eval()
    most = kept(manner, context)
    found: list[Written] = []
    for begin in range(0, len(prompts), ROWS_AT_ONCE):
        some = [list(one[-most:]) for one in prompts[begin : begin + ROWS_AT_ONCE]]
        if not all(some):
            raise MofangError("prompt-empty")
        with torch.inference_mode():
            found += _some(network, some, manner, ends, decode, context, first + begin)
        tick(len(some))
    return found


def kept(manner: Manner, context: int) -> int:
    """How many tokens of a prompt are read at most: answers may claim up to half of the context, the prompt has the rest."""
    return context - min(manner.max_tokens, context // 2)


def _some(
    network: Generator, prompts: list[list[int]], manner: Manner, ends: frozenset[int], decode: Decode, context: int,
    first: int,
) -> list[Written]:
    device = next(network.parameters()).device
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    mask = mask.to(device)
    rooms = [min(manner.max_tokens, context - len(prompt)) for prompt in prompts]
    room = max(rooms)
    draws = np.stack([np.random.default_rng((manner.seed, first + row)).random(room) for row in range(len(prompts))])
    rows: list[list[int]] = [[] for _ in prompts]
    finish = [""] * len(prompts)
    logits, cache = network.begin(ids.to(device), mask)
    for step in range(room):
        chosen = choose(logits, manner, torch.from_numpy(draws[:, step]).to(device))
        for row, token in enumerate(chosen.tolist()):
            if not finish[row]:
                finish[row] = "end" if token in ends else ""
                if not finish[row]:
                    rows[row].append(token)
                    finish[row] = _stopped(rows[row], manner.stop, decode) or ("length" if len(rows[row]) == rooms[row] else "")
        if all(finish):
            break
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        logits, cache = network.go_on(chosen[:, None], mask, cache)
    return [_written(ids, why, manner.stop, decode) for ids, why in zip(rows, finish, strict=True)]


def choose(logits: Tensor, manner: Manner, draws: Tensor) -> Tensor:
    """One token int64 [B] for logits [B, V] by a number in [0, 1) each: the inverse of the cumulated probabilities."""
    if not torch.isfinite(logits.max(dim=1).values).all():
        raise MofangError("logits-not-finite")
    if manner.temperature <= 0:
        return logits.argmax(dim=1)
    logits = (logits - logits.max(dim=1, keepdim=True).values) / manner.temperature
    ranked, order = torch.sort(logits, dim=1, descending=True, stable=True)
    shares = torch.softmax(ranked.double(), dim=1)
    before = shares.cumsum(dim=1) - shares
    kept = before < manner.top_p if manner.top_p < 1 else torch.ones_like(before, dtype=torch.bool)
    if manner.top_k:
        kept[:, manner.top_k :] = False
    kept[:, 0] = True
    shares = shares.masked_fill(~kept, 0.0)
    sums = shares.cumsum(dim=1)
    place = torch.searchsorted(sums, (draws.double() * sums[:, -1])[:, None], right=True).clamp(max=shares.shape[1] - 1)
    last = kept.sum(dim=1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last))[:, 0]


def _stopped(ids: list[int], stop: tuple[str, ...], decode: Decode) -> str:
    if not stop:
        return ""
    tail = decode(ids[-TAIL_TOKENS:])
    return "stop" if any(one in tail for one in stop) else ""


def _written(ids: list[int], why: str, stop: tuple[str, ...], decode: Decode) -> Written:
    text = decode(ids)
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return Written(ids, why, text[: min(places)] if places else text)
