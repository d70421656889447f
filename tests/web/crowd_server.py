"""A server whose model holds its first batch until the whole crowd waits, and then tells everybody their own text.

python tests/web/crowd_server.py SHOP COUNT: prints the address; SHOP/at_once says how many were under way at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench._noop_server import Noop, stock

from mofang.serve.batching import Batcher
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Served
from mofang.web.server import run_server

PATIENCE_S = 120.0


class Echo(Noop):
    """Answers with the text itself, once so many wait."""

    def __init__(self, count: int, told: Path) -> None:
        super().__init__()
        self.count, self.told, self.most = count, told, 0
        self.batcher: Batcher

    def predict(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer per record."""
        until = time.monotonic() + PATIENCE_S
        while not self.most and self.batcher.waiting + len(records) < self.count and time.monotonic() < until:
            time.sleep(0.02)
        if not self.most:
            self.most = self.batcher.waiting + len(records)
            self.told.write_text(str(self.most), encoding="ascii")
        return [{"label": record["text"]} for record in records]


if __name__ == "__main__":
    shop, echo = stock(Path(sys.argv[1])), Echo(int(sys.argv[2]), Path(sys.argv[1]) / "at_once")
    echo.batcher = Batcher(echo.predict, queue_max=2 * echo.count, wait_max_s=PATIENCE_S)
    again = shop.journals.db.again
    desk = Desk(Directory(again(), shop.secret("keys")), Meter(again()), [Served("noop@1", "run_noop", echo, echo.batcher)], again(),
                deadline_s=PATIENCE_S)
    run_server(desk, "127.0.0.1", 0, ready=lambda address: (sys.stdout.write(address + "\n"), sys.stdout.flush()))
