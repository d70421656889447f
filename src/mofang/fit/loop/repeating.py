"""Which run is under way, so that workers can repeat its call (spread.py). No torch: stages import this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mofang.core.run import Run

_run: ContextVar[Run | None] = ContextVar("repeated_run", default=None)


@contextmanager
def repeatable(run: Run) -> Iterator[None]:
    """Inside this block a training may be handed to workers, who repeat this run's call."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def current_run() -> Run | None:
    """The run whose call workers may repeat."""
    return _run.get()
