"""The size that a budget of operations suits best: by the published laws, and by a fit over a few small runs of one's own.

L(N, D) = E + A / N^a + B / D^b, with N parameters and D tokens; at C = 6·N·D operations the best N follows (Hoffmann et al.
2022). Three or four small runs cannot tell five numbers: the exponents stay those of the paper, E, A and B are fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mofang.core.errors import MofangError

ALPHA, BETA = 0.34, 0.28  # Hoffmann et al. 2022, approach 3
RATIOS = {
    "chinchilla": (20.0, "Hoffmann et al. 2022: about 20 tokens for each parameter"),
    "nanochat": (10.5, "nanochat dev/LEADERBOARD.md: 10.5 tokens for each parameter outside the embedding, measured there"),
}


@dataclass(frozen=True)
class Point:
    """One finished run: parameters, tokens read, validation loss in nats a token."""

    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Optimum:
    """Parameters and tokens for a budget of operations, and by which law."""

    parameters: float
    tokens: float
    law: str
    source: str
    loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "law": self.law,
            "parameters": round(self.parameters),
            "tokens": round(self.tokens),
            "ratio": round(self.tokens / self.parameters, 2),
            "loss": self.loss and round(self.loss, 4),
            "source": self.source,
        }


@dataclass(frozen=True)
class Law:
    """E, A and B of L(N, D), and how far the runs lie from it (root mean square, nats)."""

    floor: float
    size: float
    data: float
    error: float
    points: int

    def loss(self, parameters: float, tokens: float) -> float:
        """What validation is expected to say."""
        return float(self.floor + self.size * parameters**-ALPHA + self.data * tokens**-BETA)

    def optimum(self, flops: float) -> Optimum:
        """The minimum of L where 6·N·D = C: N = G·(C/6)^(b/(a+b)), G = (a·A / b·B)^(1/(a+b))."""
        if self.size <= 0 or self.data <= 0:
            raise MofangError("plan-fit-flat", points=self.points)
        scale = (ALPHA * self.size / (BETA * self.data)) ** (1 / (ALPHA + BETA))
        parameters = scale * (flops / 6) ** (BETA / (ALPHA + BETA))
        tokens = flops / 6 / parameters
        source = (
            f"fitted on {self.points} runs of this shop, off by {self.error:.3f} nats; exponents of Hoffmann et al. 2022"
        )
        return Optimum(parameters, tokens, "own runs", source, self.loss(parameters, tokens))


HOFFMANN = Law(1.69, 406.4, 410.7, 0.0, 0)  # the paper's own fit, English web text


def published(flops: float) -> list[Optimum]:
    """Size and tokens by the published ratios: D = r·N, C = 6·N·D."""
    found = []
    for name, (ratio, source) in RATIOS.items():
        parameters = math.sqrt(flops / (6 * ratio))
        found.append(Optimum(parameters, ratio * parameters, name, source))
    return found


def fit_law(points: Sequence[Point]) -> Law:
    """E, A, B >= 0 by least squares on the relative error of the loss; ``plan-fit-few`` under three different runs."""
    from scipy.optimize import nnls

    if len({(one.parameters, one.tokens) for one in points}) < 3:
        raise MofangError("plan-fit-few", points=len(points))
    losses = np.array([one.loss for one in points])
    rows = np.array([[1.0, one.parameters**-ALPHA, one.tokens**-BETA] for one in points])
    scale = rows.max(axis=0)
    found, _ = nnls(rows / scale / losses[:, None], np.ones(len(points)))
    floor, size, data = (float(value) for value in found / scale)
    error = float(np.sqrt(np.mean((rows @ (found / scale) - losses) ** 2)))
    return Law(floor, size, data, error, len(points))


def parabola(points: Sequence[Point]) -> Optimum:
    """The best size among runs of equal operations: a parabola of the loss over log N (Hoffmann et al. 2022, approach 2).

    ``plan-fit-flat`` where the parabola has no lowest point between the smallest and the largest of them.
    """
    if len(points) < 3:
        raise MofangError("plan-fit-few", points=len(points))
    sizes = np.log([one.parameters for one in points])
    bend, slope, level = np.polyfit(sizes, [one.loss for one in points], 2)
    if bend <= 0 or not sizes.min() <= -slope / (2 * bend) <= sizes.max():
        raise MofangError("plan-fit-flat", points=len(points))
    lowest = -slope / (2 * bend)
    flops = 6 * float(np.mean([one.parameters * one.tokens for one in points]))
    parameters = math.exp(lowest)
    loss = float(level - slope**2 / (4 * bend))
    return Optimum(
        parameters, flops / 6 / parameters, "isoFLOP", f"parabola through {len(points)} runs of equal operations", loss
    )
