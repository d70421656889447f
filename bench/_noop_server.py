"""A prediction server whose model does nothing, so that what remains is the path: key, quota, batch, charge.

python bench/_noop_server.py SHOP PORT [again]: makes the shop if it is not there, prints the address it serves at; keys lie in
SHOP/live and SHOP/test. Without PORT it makes the shop and ends. With ``again`` each line begins with the serving process's
number, and when that process dies another takes its place at once (a fork: nothing is imported anew).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop
from mofang.engine.task import Signature, task_named
from mofang.serve.batching import Batcher
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.pricing.prices import price_set
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Served
from mofang.trade.request.pace import Pace
from mofang.web.server import run_server

ANSWER = {"label": "pos", "scores": {"neg": 0.25, "pos": 0.75}}
MODEL = "noop"
USUAL, ODD = "5.00/1000", "0.0337/1000"  # the odd price leaves parts of a micro to carry


class Noop:
    """Parses and counts as a text classifier does, and answers all alike."""

    def __init__(self) -> None:
        self.task = task_named("text_classification")
        self.signature: Signature = {"task": "text_classification", "inputs": [{"name": "text", "role": "text"}],
                                     "labels": ["neg", "pos"]}

    def parse(self, body: object) -> tuple[list[dict[str, Any]], bool]:
        return self.task.parse(self.signature, body)

    def units(self, records: Sequence[dict[str, Any]]) -> int:
        return sum(self.task.units(record) for record in records)

    def predict(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [ANSWER for _ in records]

    def encode(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {}


def stock(path: Path, price: str = ODD, credit: str = "1000000") -> Shop:
    """A shop with one customer, a live and a test key, and a price."""
    shop = Shop.open(path)
    if not (path / "live").exists():
        shop.act(customer_new, name="tester", credit=credit)
        shop.act(price_set, model=MODEL, price=price)
        for kind in ("live", "test"):
            token = shop.act(key_new, customer="tester", test=kind == "test").token
            (path / kind).write_text(token, encoding="ascii")
    return shop


def desk_over(shop: Shop) -> Desk:
    """A desk that sells the model that does nothing."""
    model = Noop()
    served = Served(f"{MODEL}@1", "run_noop", model, Batcher(model.predict))
    again = shop.journals.db.again
    return Desk(Directory(again(), shop.secret("keys")), Meter(again()), [served], again(), pace=Pace(shop.path / "scratch" / "limits"))


def serve(path: Path, port: int, lead: str = "") -> None:
    """Serve until told to stop."""
    stocked = stock(path, USUAL)
    run_server(desk_over(stocked), "127.0.0.1", port, ready=lambda address: print(f"{lead}{address}", flush=True),
               folder=stocked.path / "scratch")


def serve_again(path: Path, port: int) -> None:
    """Serve by a child, and by another one when it was killed; ends with SIGTERM. This process opens nothing of the shop."""
    over = threading.Event()
    child = 0

    def end(_number: int, _frame: Any) -> None:
        over.set()
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    while not over.is_set():
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(path, port, f"{os.getpid()} ")
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        serve_again(Path(sys.argv[1]), int(sys.argv[2]))
    elif len(sys.argv) > 2:
        serve(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        stock(Path(sys.argv[1]), USUAL)
