"""A limit on guessing: how often somebody may show what is wrong."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from threading import Lock

FAILED_MAX = 10  # in a minute, from one address; after that what is wrong is answered 429 and not written down
MINUTE_S = 60.0


class Limit:
    """How often an address has failed lately; bounded in memory."""

    def __init__(self, most: int = FAILED_MAX, addresses_max: int = 10_000) -> None:
        self.most = most
        self.addresses_max = addresses_max
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def failed(self, address: str) -> bool:
        """Count a failure; True if there were too many in the last minute."""
        now = time.monotonic()
        with self._lock:
            times = self._failed.setdefault(address, deque(maxlen=self.most + 1))
            self._failed.move_to_end(address)
            times.append(now)
            while len(self._failed) > self.addresses_max:
                self._failed.popitem(last=False)
            return sum(now - one < MINUTE_S for one in times) > self.most
