"""Tags that know their neighbours: which tag follows which was counted in training, and a text's tags are asked for together.

The chain's score of a sequence is the product of the pieces' own probabilities and of how much likelier a tag is behind the one
before it than anywhere (a hybrid of network and Markov chain, Bourlard and Morgan 1990); sequences in which a span goes on that
did not begin score 0. A chain that was taught together with the network (a conditional random field) holds the logarithms of its
factors instead of counts; the rest is the same, for a piece's own probabilities are its scores but for a factor that all tags share.
What comes out is again a probability for each piece and tag (forward and backward, Rabiner 1989).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, from_npy, to_npy

FILE = "chain.npy"
TINY = 1e-9
SMOOTH = 0.5     # added to every allowed count
SCORE_MOST = 60.0  # logarithm beyond which no taught factor is


@dataclass(frozen=True, eq=False)
class Chain:
    """How often tag b follows tag a in the training texts, float32 [1 + K, K] (the last row: a text's first tag), and how much
    that counts, ``weight`` 0 to 1. Where it was ``taught``, the logarithm of what the step multiplies the score by."""

    follows: Array
    weight: float
    taught: bool = False

    @classmethod
    def of(cls, tags: Sequence[Array], count: int, weight: float = 1.0) -> Chain:
        """Counted in the tags of texts, int64 [P] each, of ``count`` tags."""
        pairs = np.zeros((count + 1, count), np.float32)
        for one in tags:
            if len(one):
                pairs[count, one[0]] += 1
                np.add.at(pairs, (one[:-1], one[1:]), 1)
        return cls(pairs, weight)

    @cached_property
    def factors(self) -> Array:
        """What a step from tag to tag multiplies the score by, float64 [1 + K, K]; 0 where it is not allowed."""
        if self.taught:
            return np.asarray(np.exp(self.follows.astype(np.float64)) * allowed(self.follows.shape[1]))
        counts = (self.follows + SMOOTH) * allowed(self.follows.shape[1])
        together = counts / counts.sum()
        apart = together.sum(axis=1, keepdims=True) * together.sum(axis=0, keepdims=True)
        gain = np.where(together > 0, together / np.maximum(apart, TINY), 0.0)
        found: Array = np.where(gain > 0, gain**self.weight, 0.0)
        return found

    def marginals(self, probabilities: Array, counts: Array) -> Array:
        """Of the pieces' own probabilities float32 [B, P, K] and the number of pieces int64 [B]: those of the chain, float32
        [B, P, K]; behind a text's last piece nothing changes."""
        rows, most, tags = probabilities.shape
        if tags != self.follows.shape[1]:
            raise MofangError("encoder-broken", name="chain", reason=f"{tags} tags where {self.follows.shape[1]} were counted")
        if not rows or not most:
            return probabilities
        first, step = self.factors[-1], self.factors[:-1]
        own = np.maximum(probabilities.astype(np.float64), TINY)
        forth, back = np.empty_like(own), np.ones_like(own)
        forth[:, 0] = _shares(own[:, 0] * first)
        for place in range(1, most):
            forth[:, place] = _shares((forth[:, place - 1] @ step) * own[:, place])
        for place in range(most - 2, -1, -1):
            inside = (place + 1 < counts)[:, None]
            back[:, place] = np.where(inside, _shares((own[:, place + 1] * back[:, place + 1]) @ step.T), 1.0 / tags)
        used = (np.arange(most)[None, :] < counts[:, None])[:, :, None]
        return np.where(used, _shares(forth * back), probabilities).astype(np.float32)

    def save(self) -> dict[str, bytes]:
        """chain.npy: the counts, and the weight in one more row; -1 there says that it was taught."""
        last = np.full((1, self.follows.shape[1]), -1.0 if self.taught else self.weight, np.float32)
        return {FILE: to_npy(np.vstack([self.follows, last]))}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Chain | None:
        """What ``save`` wrote, None where there is none; raises ValueError for anything else."""
        if FILE not in files:
            return None
        found = from_npy(files[FILE])
        if found.dtype != np.float32 or found.ndim != 2 or found.shape[0] != found.shape[1] + 2 or found.shape[1] % 2 != 1:
            raise ValueError(f"{found.shape} counts are no chain")
        weight = float(found[-1, 0])
        if weight == -1 and not found[-2].any() and (np.abs(found[:-1]) <= SCORE_MOST).all():
            return cls(found[:-1], 1.0, taught=True)
        if not (np.isfinite(found).all() and (found >= 0).all() and 0 <= weight <= 1):
            raise ValueError("counts of a chain are negative or none")
        return cls(found[:-1], weight)


def allowed(count: int) -> Array:
    """Which tag may follow which, float64 [1 + K, K] of 0 and 1: a span goes on only behind its own beginning or itself."""
    found = np.ones((count + 1, count))
    for inside in range(2, count, 2):
        found[:, inside] = 0
        found[inside - 1:inside + 1, inside] = 1
    return found


def _shares(scores: Array) -> Array:
    found: Array = scores / scores.sum(axis=-1, keepdims=True)
    return found
