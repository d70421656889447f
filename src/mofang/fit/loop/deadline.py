"""The moment at which whoever pays for the training wants it to stop, checkpoint and hand the time back.

It is no setting: a model that was cut off is no result. The run fails with ``time-is-up``, its checkpoint
stays, and the same call with a later deadline goes on from there. Whoever wants a model at any rate sets a
limit instead (``seconds`` of ``train``), which shortens the schedule and is part of what makes the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """Let training inside this block run for at most so many seconds."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def left_s() -> float:
    """Seconds until the deadline; endless where there is none."""
    return _deadline.get() - time.monotonic()


def is_past() -> bool:
    """True once the deadline has passed."""
    return time.monotonic() >= _deadline.get()
