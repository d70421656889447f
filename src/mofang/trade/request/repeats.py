"""Equal requests within a minute: a client that retries without an Idempotency-Key pays twice, and should see that.

Nothing is refused and nothing is cheaper: the usage row says so, and the bill counts such rows. What is kept of a body
is a 64-bit hash in memory, different in every process, for two minutes at most.
"""

from __future__ import annotations

import time

WITHIN_S = 60.0
MOST = 50_000  # remembered at a time; a busier server overlooks some


class Repeats:
    """What one serving process was asked within the last minute. Used on the event loop alone."""

    def __init__(self) -> None:
        self._turned_s = time.monotonic()
        self._now: dict[tuple[str, str, int], float] = {}
        self._before: dict[tuple[str, str, int], float] = {}

    def seen(self, key: str, model: str, body: bytes) -> bool:
        """Whether this key sent the same body to the same model within the last minute; remembers that it did now."""
        now, name = time.monotonic(), (key, model, hash(body))
        if now > self._turned_s + WITHIN_S:
            self._before, self._now, self._turned_s = self._now, {}, now
        last = self._now.get(name) or self._before.get(name)
        if len(self._now) < MOST:
            self._now[name] = now
        return last is not None and now <= last + WITHIN_S
