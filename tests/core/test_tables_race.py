"""Two processes that make a shop's tables at the same moment: both find them made."""

from __future__ import annotations

import threading

import pytest

from mofang.core.database import Database, open_database
from mofang.core.journal import Journals

pytestmark = pytest.mark.cluster


def test_tables_are_made_by_many_at_once(postgres_url: str) -> None:
    import mofang.serve.deploy
    import mofang.trade.accounts.customers
    import mofang.trade.accounts.keys  # noqa: F401 - their tables are made too

    faults: list[BaseException] = []
    made = [open_database(postgres_url) for _ in range(6)]
    ready = threading.Barrier(len(made))

    def make(one: Database) -> None:
        ready.wait(30)
        try:
            Journals(one)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the test tells it
            faults.append(fault)

    threads = [threading.Thread(target=make, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one in made:
        one.close()
    assert faults == []
