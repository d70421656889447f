"""The way back from a server's threads to its event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Receiver(Protocol):
    """Who waits for an outcome on the event loop: a future, or a line of pieces."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, outcome: Any, /) -> None:
        """Hand it over."""
        ...


class Outbox:
    """Brings outcomes from other threads to the event loop, many with one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread = threading.get_ident()  # made on the loop's own
        self._lock = threading.Lock()
        self._waiting: list[tuple[Receiver, Any, Callable[[], None] | None]] = []

    @property
    def here(self) -> bool:
        """Whether this is the event loop's own thread."""
        return threading.get_ident() == self._thread

    def put(self, future: Receiver, outcome: Any, late: Callable[[], None] | None = None) -> None:
        """Hand over an outcome; ``late`` is called instead if nobody waits for it any more."""
        with self._lock:
            self._waiting.append((future, outcome, late))
            first = len(self._waiting) == 1
        if first and self.here:
            self.loop.call_soon(self._deliver)
        elif first:
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for future, outcome, late in waiting:
            if not future.done():
                future.set_result(outcome)
            elif late is not None:
                late()
