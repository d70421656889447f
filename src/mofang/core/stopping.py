"""Being stopped (Ctrl-C, a closed terminal, a supervisor): at once where nothing is open, after the step where one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_open_steps = 0
_asked: Stopped | None = None


class Stopped(KeyboardInterrupt):
    """Stopped by a signal; the exit status is 128 and its number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def stop(number: int) -> None:
    """A signal came: raise ``Stopped``, or remember it while somebody works in steps."""
    global _asked
    _asked = Stopped(number)
    if not _open_steps:
        raise _asked


@contextmanager
def in_steps() -> Iterator[None]:
    """Inside this block a signal only asks; whoever works here looks with ``asked`` after each step."""
    global _open_steps
    _open_steps += 1
    try:
        yield
    finally:
        _open_steps -= 1


def asked() -> Stopped | None:
    """The stop that was asked for, to be raised once everything is written down."""
    return _asked


def forget() -> None:
    """A new command begins: what was asked of an earlier one no longer holds."""
    global _asked
    _asked = None
