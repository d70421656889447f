"""Being stopped (Ctrl-C, a closed terminal, a supervisor): at once where nothing is open, after the step where one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """Stopped by a signal; the exit status is 128 and its number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class _Process:
    """Signals come to the whole process, so this is one for all."""

    steps = 0
    asked: Stopped | None = None


def stop(number: int) -> None:
    """A signal came: raise ``Stopped``, or remember it while somebody works in steps."""
    _Process.asked = Stopped(number)
    if not _Process.steps:
        raise _Process.asked


@contextmanager
def in_steps() -> Iterator[None]:
    """Inside this block a signal only asks; whoever works here looks with ``asked`` after each step."""
    _Process.steps += 1
    try:
        yield
    finally:
        _Process.steps -= 1


def asked() -> Stopped | None:
    """The stop that was asked for, to be raised once everything is written down."""
    return _Process.asked


def forget() -> None:
    """A new command begins: what was asked of an earlier one no longer holds."""
    _Process.asked = None
