"""Ten thousand runs: lists stay fast. (Elsewhere they took seconds to minutes.)"""

from __future__ import annotations

import time

from mofang.core.history import recent, unfinished
from mofang.core.shop import Shop
from tests.core.kernel_stages import count

RUNS = 10_000
LIST_S = 0.2


def test_lists_of_ten_thousand_runs_take_under_a_fifth_of_a_second(shop: Shop) -> None:
    made = shop.run(count)
    done = shop.ledger.get(made.entry)
    start = next(iter(shop.ledger.entries("start")))
    with shop.ledger.db.transaction():
        for number in range(RUNS):
            shop.ledger.append_within("start", f"key-{number}", shop.actor, start.body)
            shop.ledger.append_within("done", f"key-{number}", shop.actor, done.body)
            if number % 10 == 0:
                named = {"name": f"m{number % 100}", "version": number, "kind": "numbers", "entry": done.id}
                shop.ledger.append_within("decision", f"name:{number}", shop.actor, {"decision": "name", "named": named})
                shop.ledger.db.run("insert into name(owner, name, version, kind, entry) values(?,?,?,?,?)",
                                   ("shop", named["name"], number, "numbers", done.id))
    for question in (lambda: recent(shop.ledger, 30), lambda: unfinished(shop.ledger), lambda: shop.names("numbers"),
                     lambda: shop.find(done.id), lambda: shop.run(count)):
        fastest = min(_seconds(question) for _ in range(3))
        assert fastest < LIST_S, f"{fastest:.3f} s"


def _seconds(question) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    question()
    return time.perf_counter() - began
