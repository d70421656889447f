"""Which token comes next: the likeliest, or one by chance, exactly as training's own writer chooses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array

FAR = 60.0  # logits so much below the highest have no share that a float64 could see


@dataclass(frozen=True)
class Sampling:
    """How to write: greedily (``temperature`` 0) or by chance among the ``top_k`` likeliest tokens (0: all) that together hold
    ``top_p`` of the probability, until a stop string, the model's own end, or ``max_tokens``. ``logprobs`` is how many of the
    likeliest tokens are told beside each that was taken, -1 for none."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: int = -1


@dataclass(frozen=True)
class Told:
    """A token's log-probability, and the likeliest tokens in its place with theirs."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


class Chance:
    """The draws of one answer: the same seed gives the same numbers, whoever else is being answered."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 0))

    def draw(self) -> float:
        """The next number in [0, 1)."""
        return float(self._rng.random())


def choose(logits: Array, sampling: Sampling, chance: Chance) -> int:
    """One token for logits float32 [V]; raises ``logits-broken`` where they are no numbers."""
    best = int(logits.argmax())
    if not np.isfinite(logits[best]):
        raise MofangError("logits-broken")
    if sampling.temperature <= 0:
        return best
    # in float32 throughout as the writer of training divides them, so that both take the same token
    apart = (logits - logits[best]) / np.float32(sampling.temperature)
    near = np.flatnonzero(apart > -FAR)
    order = near[np.argsort(-apart[near], kind="stable")]
    shares = np.exp(apart[order].astype(np.float64))
    shares /= shares.sum()
    if sampling.top_p < 1:
        kept = int((np.cumsum(shares) - shares < sampling.top_p).sum())
        order, shares = order[: max(1, kept)], shares[: max(1, kept)]
    if sampling.top_k:
        order, shares = order[: sampling.top_k], shares[: sampling.top_k]
    sums = np.cumsum(shares)
    place = int(np.searchsorted(sums, chance.draw() * sums[-1], side="right"))
    return int(order[min(place, len(order) - 1)])


def tell(logits: Array, token: int, count: int) -> Told:
    """The log-probability of a token, and of the ``count`` likeliest."""
    whole = logits.astype(np.float64)
    whole -= whole.max()
    whole -= np.log(np.exp(whole).sum())
    first = np.argsort(-whole, kind="stable")[:count] if count else ()
    return Told(token, float(whole[token]), tuple((int(one), float(whole[one])) for one in first))
