"""The learning rate of every step: a linear warm-up, then the chosen way down over the planned steps."""

from __future__ import annotations

import math

from mofang.fit.loop.learning import Constant, Cosine, Exponential, Schedule, Step


def rate_at(step: int, steps: int, rate: float, warm_up: float, schedule: Schedule | None = None) -> float:
    """The rate of step ``step`` (from 0) of ``steps``; ``warm_up`` is the share of the steps in which it rises."""
    warm = max(1.0, warm_up * steps)
    if step < warm:
        return rate * (step + 1) / (warm + 1)
    done = min(1.0, (step - warm) / max(1.0, steps - warm))
    return rate * _left(schedule or Cosine(), done)


def _left(schedule: Schedule, done: float) -> float:
    """The share of the rate that is left after this share of the steps behind the warm-up."""
    if isinstance(schedule, Cosine):
        return schedule.last + (1 - schedule.last) * 0.5 * (1 + math.cos(math.pi * done))
    if isinstance(schedule, Step):
        return float(schedule.factor ** sum(done >= place for place in schedule.at))
    if isinstance(schedule, Exponential):
        return float(schedule.last**done)
    assert isinstance(schedule, Constant), schedule.tag
    return 1.0
