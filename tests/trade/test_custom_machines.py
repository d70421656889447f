"""Workers on two machines over one shop in PostgreSQL: each order is taken by one of them, and the books balance."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.customs import orders
from mofang.trade.customs.jobs import jobs
from tests.stories.terminal import Inside
from tests.trade.test_custom_kinds import jsonl, released

WORKER = """
import socket, sys
socket.gethostname = lambda: sys.argv[2]
from mofang.core.shop import Shop
from mofang.trade.customs import queue
shop = Shop.open(sys.argv[1], make=False)
while (done := queue.work_once(shop)) is not None:
    print(done.custom.name, done.state, sys.argv[2], flush=True)
"""


@pytest.mark.cluster  # PostgreSQL and two processes
def test_two_machines_take_each_order_once(postgres_url: str, tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    shop = Shop.open(terminal.shop, database=postgres_url)
    terminal.type("customer", "new", "Acme", "--credit", "1000")
    rows = [{"text": f"{'good' if number % 2 else 'bad'} thing {number}", "label": "yes" if number % 2 else "no"} for number in range(80)]
    source = str(jsonl(tmp_path / "base.jsonl", rows[:40]))
    released(terminal, "base", "text_classification", {"source": source, "label": "label", "text": ("text",)}, ("text",), "linear")
    jsonl(tmp_path / "own.jsonl", rows[40:])
    for name in ("one", "two", "three"):
        terminal.type("customise", "new", "Acme", "--base", "base", "--name", name, "--price", "10.00")
        terminal.type("customise", "add", name, "own.jsonl")
        assert terminal.type("customise", "run", name, "--queue", "--json").json["place"] == {"one": 1, "two": 2, "three": 3}[name]
    account = orders.find_custom(shop.control, "one").account
    assert balance_of(shop.control, account, now_us()).held == 30_000_000
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(terminal.shop), host], env=terminal.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for host in ("north", "south")]
    said = [one.communicate(timeout=150) for one in workers]
    lines = sorted(line for out, _ in said for line in out.splitlines())
    assert [line.rsplit(" ", 1)[0] for line in lines] == ["one delivered", "three delivered", "two delivered"], said
    assert sorted(one.micros for one in oneoffs(shop.control, account)) == [10_000_000] * 3
    assert balance_of(shop.control, account, now_us()).held == 0 and {one.state for one in jobs(shop.control)} == {"done"}
    assert terminal.type("verify").status == 0
