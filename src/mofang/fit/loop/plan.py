"""What the loop is told: how long and how hard to train. A family gives it, the settings of learning go over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mofang.fit.loop.learning import Optimizer, Schedule


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train.

    ``positions`` limits the padded positions of a batch, ``rows`` its rows; ``micro_batches`` of them are one step
    (0: all of an epoch). ``judge_steps`` validates every so many steps instead of after every epoch. ``class_weights``
    is what a row of each class counts in the loss (left out: all alike). ``fits_mb`` asks for a batch that fits that
    memory (-1: half of what is free). Left-out optimizer and schedule are AdamW and a cosine.
    """

    epochs: int
    learning_rate: float
    rows: int = 32
    positions: int = 0
    micro_batches: int = 1
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip_norm: float = 1.0
    patience: int = 3
    seed: int = 0
    seconds: float = 0.0
    checkpoint_s: float = 30.0
    class_weights: tuple[float, ...] = ()
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    l1: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: str = "auto"
    freeze: tuple[str, ...] = ()
    target: float | None = None
    improvement: float = 0.0
    steps: int = 0
    judge_steps: int = 0
    checkpoint_steps: int = 0
    fits_mb: int = 0
    tensorboard: str = ""
