"""Which requests were answered, written down apart from the meter, so that both can be held against each other.

A line for each answered request that was charged or counted: the time (microseconds) and the request's id, nothing else of
it. Written once a second and not synced: what a kill loses here is found as charged and perhaps not delivered, never as the
opposite. A replayed answer is no new one and has no line.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mofang.core.identity import now_us

KEPT_DAYS = 35


class AccessLog:
    """The answered requests of one process, in a file for each day (UTC)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stem = f"{socket.gethostname()}-{os.getpid()}"
        self._swept = ""

    def write(self, ids: Sequence[str]) -> None:
        """Append ids with the time of now."""
        at_us = now_us()
        day = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d")
        self.folder.mkdir(parents=True, exist_ok=True)
        if day != self._swept:
            self._swept = day
            self._forget_old()
        with (self.folder / f"{day}_{self._stem}.log").open("a", encoding="ascii") as file:
            file.write("".join(f"{at_us} {id}\n" for id in ids))

    def _forget_old(self) -> None:
        before_s = time.time() - KEPT_DAYS * 86_400
        for path in self.folder.glob("*.log"):
            if path.stat().st_mtime < before_s:
                path.unlink(missing_ok=True)
