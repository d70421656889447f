"""The prediction server of ``_noop_server``, metered or not: python bench/trade/server.py SHOP PORT metered|limited|unmetered|floor.

``metered`` is the product as it is. ``limited`` has two rates, a count and two budgets besides, none of which is ever reached.
``unmetered`` is the same server and the same batcher without everything that metering needs: no key is looked at, no
money reserved, nothing written, no answer kept for retries. The difference is what metering costs. ``floor`` is the
unmetered server that writes each answer durably, by itself: what one row and one ``fsync`` cost any server like this.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from _noop_server import MODEL, USUAL, desk_over, stock

from mofang.core.database import PRAGMAS
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customers
from mofang.trade.accounts.keys import keys
from mofang.trade.accounts.limits import limit_set
from mofang.trade.request.commit import Charge
from mofang.trade.request.desk import Call, Desk, Reply, Who
from mofang.trade.request.replay import Stored
from mofang.web.server import run_server


class Nothing:
    """A meter that forgets everything at once."""

    state, utc_offset, commits, quick = "running", "+08:00", 0, True

    def __init__(self) -> None:
        self.took: Any = []

    def settle_alone(self, work: Charge, *, patient: bool = True) -> bool:
        self.submit(work)
        return True

    def submit(self, work: Charge) -> None:
        work.done(Stored(work.digest, work.request_id, 200, work.answer, replayed=False))

    def reserve(self, *_: Any) -> bool:
        return True

    def release(self, *_: Any) -> None: ...

    def start(self) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


class Floor(Nothing):
    """A meter that does nothing but write each answer durably: one row, one table, one commit, the ``sqlite3`` module itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.turn = threading.Lock()
        self.raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self.raw.execute(pragma)
        self.raw.execute("create table answer(number integer primary key, body blob)")

    def submit(self, work: Charge) -> None:
        with self.turn:  # engines answer on several threads
            self.raw.execute("begin immediate")
            self.raw.execute("insert into answer(body) values(?)", (work.answer,))
            self.raw.execute("commit")
        super().submit(work)


class Unmetered(Desk):
    """Knows its one caller without looking."""

    def admit(self, token: str) -> Who:
        return self.who

    async def predict(self, who: Who, call: Call) -> Reply:
        return await self.sell(who, self.served[f"{MODEL}@1"], call, "")


def unmetered(shop: Shop, meter: Nothing) -> Desk:
    """The same desk without its meter."""
    desk = desk_over(shop)
    desk.meter.close()
    desk.__class__ = Unmetered
    desk.meter = meter  # type: ignore[assignment]
    picture = desk.directory.picture
    desk.who = Who(next(iter(picture.keys.values())), next(iter(picture.customers.values())))  # type: ignore[attr-defined]
    return desk


def ready(path: Path, address: str) -> None:
    """Say where it serves, and leave beside the shop which thread is which."""
    names = {one.native_id: one.name for one in threading.enumerate()}
    (path / "threads.json").write_text(json.dumps(names), encoding="utf-8")
    print(address, flush=True)


def main(path: Path, port: int, kind: str) -> None:
    """Serve until told to stop; then leave beside the shop how long commits took."""
    shop = stock(path, USUAL)
    if kind == "limited":
        name = customers(shop.control)[0].name
        one = next(key.id for key in keys(shop.control) if not key.test)
        shop.act(limit_set, customer=name, rate="1000000/s", concurrency=10_000, budget="900000", soft="800000")
        shop.act(limit_set, customer=name, key=one, rate="1000000/s", budget="900000")
    if kind == "unmetered":
        made = unmetered(shop, Nothing())
    elif kind == "floor":
        made = unmetered(shop, Floor(path / "floor.db"))
    else:
        made = desk_over(shop)
    signal.signal(signal.SIGTERM, lambda *_: None)  # the server ends by it, and raises it once more for who called it
    run_server(made, "127.0.0.1", port, ready=lambda address: ready(path, address), folder=path / "scratch")
    (path / "commits.json").write_text(json.dumps([took_s for took_s, _ in made.meter.took]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
