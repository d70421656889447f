"""Limits: rates in whole nanoseconds over all workers, requests at once, budgets that are never passed by a micro."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import ANSWER, Noop
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.accounts.limits import (
    NONE,
    Budget,
    Limit,
    held_of,
    limit_set,
    limits,
    low_budgets,
    month_of,
    read_rate,
    used_of,
)
from mofang.trade.billing.balance import balance_of, return_expired
from mofang.trade.pricing.prices import price_set
from mofang.trade.request.pace import WORKERS, Pace
from mofang.trade.request.replay import Stored
from tests.new.test_pages import walk
from tests.stories.terminal import Inside, eventually
from tests.trade.at_meter import Till
from tests.web.serving import Fixed, Serving

S = 1_000_000_000
START = 7 * S


def code_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except MofangError as error:
        return error.code
    return "ok"


# Rates


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 20), st.lists(st.integers(0, 3 * S), min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_stretch_of_time_holds_more_than_the_rate_and_one_burst(requests: int, per_s: int, burst: int, gaps: list[int]) -> None:
    pace, limit, now, passed = Pace(), Limit("cus", requests=requests, per_s=per_s, burst=burst), START, list[int]()
    for gap in gaps:
        now += gap
        if code_of(lambda at=now: pace.enter([limit], at)) == "ok":  # type: ignore[misc]
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            stretch = passed[last] - passed[first]
            assert last - first + 1 <= burst + stretch * requests // (per_s * S)


def test_who_waits_as_told_is_let_in() -> None:
    pace, limit = Pace(), Limit("cus", "key", requests=7, per_s=60, burst=2)
    assert [code_of(lambda: pace.enter([limit], START)) for _ in range(3)] == ["ok", "ok", "rate-limited"]
    with pytest.raises(MofangError) as caught:
        pace.enter([limit], START)
    assert caught.value.status == 429 and caught.value.values["whose"] == "key"
    wait = caught.value.values["after_s"]
    assert wait == 9 and code_of(lambda: pace.enter([limit], START + wait * S)) == "ok"
    assert code_of(lambda: pace.enter([limit], START + 10_000 * S)) == "ok"
    assert code_of(lambda: pace.enter([limit], START)) == "ok", "a clock of another life of the machine stops nobody"


def test_what_one_limit_refuses_uses_up_no_other() -> None:
    pace = Pace()
    wide, narrow = Limit("cus", requests=10, per_s=1, burst=10), Limit("cus", "key", requests=1, per_s=60, burst=1)
    told = [code_of(lambda: pace.enter([wide, narrow], START)) for _ in range(20)]
    assert told == ["ok"] + ["rate-limited"] * 19
    assert [code_of(lambda: pace.enter([wide], START)) for _ in range(10)] == ["ok"] * 9 + ["rate-limited"]


def test_workers_share_a_rate_and_a_count(tmp_path: Path) -> None:
    paces = [Pace(tmp_path) for _ in range(4)]
    rate = Limit("cus", requests=1, per_s=3600, burst=10)
    told = [code_of(lambda at=at: paces[at % 4].enter([rate])) for at in range(40)]  # type: ignore[misc]
    assert told.count("ok") == 10
    count, entered = Limit("cus", "k", concurrency=3), []
    for pace in paces[:3]:
        entered.append((pace, pace.enter([count])))
    assert code_of(lambda: paces[3].enter([count])) == "too-many-at-once"
    entered[0][0].leave(entered[0][1])
    assert code_of(lambda: paces[3].enter([count])) == "ok"
    for pace in paces:
        pace.close()
    fresh = Pace(tmp_path)
    assert [code_of(lambda: fresh.enter([count])) for _ in range(4)] == ["ok"] * 3 + ["too-many-at-once"], "ended workers count for nothing"
    fresh.close()


def test_there_is_room_for_so_many_workers_and_no_more(tmp_path: Path) -> None:
    paces = [Pace(tmp_path) for _ in range(WORKERS)]
    assert code_of(lambda: Pace(tmp_path)) == "workers-too-many"
    for pace in paces:
        pace.close()


def _take(folder: Path, taken: Any, limit: Limit) -> None:
    pace, count = Pace(folder), 0
    for _ in range(200):
        count += code_of(lambda: pace.enter([limit])) == "ok"
    taken.put(count)


def _hold(folder: Path, ready: Any, limit: Limit) -> None:
    Pace(folder).enter([limit, limit])
    ready.set()
    time.sleep(60)


def test_four_processes_share_a_rate_and_a_killed_one_leaves_nothing_behind(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    taken, rate = spawn.Queue(), Limit("cus", requests=1, per_s=36_000, burst=100)
    processes = [spawn.Process(target=_take, args=(tmp_path, taken, rate)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(taken.get(timeout=30) for _ in processes) == 100
    for process in processes:
        process.join(30)
    ready, count = spawn.Event(), Limit("cus", "k", concurrency=2)
    holder = spawn.Process(target=_hold, args=(tmp_path, ready, count))
    holder.start()
    assert ready.wait(30)
    pace = Pace(tmp_path)
    assert code_of(lambda: pace.enter([count])) == "too-many-at-once"
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(30)
    assert code_of(lambda: pace.enter([count])) == "ok"
    pace.close()


@pytest.mark.parametrize(("text", "wanted"), [("600/minute", (600, 60)), ("10/s", (10, 1)), ("100 / 5 min", (100, 300)), ("60次/分钟", (60, 60)),
                                              ("5000 requests/hours", (5000, 3600)), ("1／天", (1, 86_400))])
def test_rates_are_read(text: str, wanted: tuple[int, int]) -> None:
    assert read_rate(text) == wanted


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "1.5/s", "10/0s", "10/fortnight", "1e3/s", "999999999/s", "10/s; drop", "１０/s" * 9])
def test_what_is_no_rate_is_refused(text: str) -> None:
    assert code_of(lambda: read_rate(text)) == "rate-unreadable"


# Settings


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    shop.act(customer_new, name="书店", credit="10")
    shop.act(price_set, model="noop", price="0.01")
    return shop


def test_limits_are_set_changed_and_taken_away(stocked: Shop) -> None:
    key = stocked.act(key_new, customer="书店")
    stocked.act(limit_set, customer="书店", rate="600/minute", concurrency=4)
    stocked.act(limit_set, customer="书店", key=key.id, budget="5", soft="4")
    stocked.act(limit_set, customer="书店", burst=50)
    whole, of_key = limits(stocked.control)
    assert (whole.requests, whole.per_s, whole.burst, whole.concurrency, whole.budget_micros) == (600, 60, 50, 4, NONE)
    assert (of_key.key, of_key.budget_micros, of_key.soft_micros, of_key.paced) == (key.id, 5_000_000, 4_000_000, False)
    stocked.act(limit_set, customer="书店", rate="none", concurrency=0)
    assert [one.key for one in limits(stocked.control)] == [key.id]
    assert stocked.journals.verify() == []


def test_settings_that_make_no_sense_are_refused(stocked: Shop) -> None:
    stocked.act(customer_new, name="other")
    key = stocked.act(key_new, customer="other").id
    for code, wrong in {"burst-without-rate": {"burst": 5}, "soft-without-budget": {"soft": "5"}, "soft-above-budget": {"budget": "5", "soft": "6"},
                        "rate-unreadable": {"rate": "fast"}, "limit-other-customer": {"key": key, "budget": "5"},
                        "amount-negative": {"budget": "-5"}, "currency-other": {"budget": "$5"}}.items():
        assert code_of(lambda wrong=wrong: stocked.act(limit_set, customer="书店", **wrong)) == code  # type: ignore[misc]
    assert limits(stocked.control) == [] and code_of(lambda: stocked.act(limit_set, customer="nobody", rate="1/s")) == "customer-unknown"


def test_typed(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    Shop.open(terminal.shop)
    terminal.type("customer", "new", "书店")
    assert "600/60 s" in terminal.type("limit", "set", "书店", "--rate", "600/minute", "--budget", "¥500", "--soft", "400").out
    (row,) = terminal.type("limit", "show", "--json").json
    assert (row["key"], row["budget"], row["soft"], row["used"]) == ("*", "¥500.00", "¥400.00", "¥0.00")
    assert terminal.type("limit", "set", "书店", "--rate", "quick", status=1).code == "rate-unreadable"
    assert terminal.type("limit").out and terminal.type("limit", "show", "nobody", status=1).code == "customer-unknown"


# Budgets


class Spending:
    """A customer with two scopes and servers on demand."""

    def __init__(self, shop: Shop, most: int = 200_000, soft: int = NONE) -> None:
        self.shop, self.db = shop, shop.journals.db
        self.account = shop.act(customer_new, name="Ming", credit="10").id
        self.price = shop.act(price_set, model="reviews", price="0.01")
        self.budgets = (Budget(f"{self.account}/", most * 3), Budget(f"{self.account}/key", most, soft))
        self.tills: list[Till] = []

    def till(self) -> Till:
        self.tills.append(Till(self.db.again()))
        return self.tills[-1]

    def used(self, at: int = 1) -> int:
        return used_of(self.db, self.budgets[at].scope, month_of(now_us()))


@pytest.fixture
def spending(any_shop: Shop) -> Iterator[Spending]:
    found = Spending(any_shop, soft=150_000)
    yield found
    for till in found.tills:
        till.meter.close()


def test_sixty_four_callers_at_a_budgets_edge_over_four_servers(spending: Spending) -> None:
    tills = [spending.till() for _ in range(4)]
    told: list[Any] = []

    def call(number: int) -> None:
        told.extend(tills[number % 4].sell(spending.account, 1, spending.price, budgets=spending.budgets) for _ in range(2))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = sum(isinstance(one, Stored) for one in told)
    assert {one.code for one in told if isinstance(one, MofangError)} == {"budget-used-up"} and len(told) == 128
    assert answered * 10_000 == spending.used() == spending.used(0) <= 200_000
    for till in tills:
        till.meter.close()
    assert [held_of(spending.db, one.scope) for one in spending.budgets] == [0, 0]
    last = spending.till()
    while isinstance(last.sell(spending.account, 1, spending.price, budgets=spending.budgets), Stored):
        answered += 1
    assert answered == 20 and spending.used() == 200_000, "to the last unit, and not one more"
    assert balance_of(spending.db, spending.account, now_us()).debited == 200_000
    assert [row.kind for row in spending.shop.journals.rows("limits")] == ["low"], "said once, by whichever server passed the line"
    assert spending.shop.journals.verify() == []


def test_a_budget_refuses_and_what_it_refused_costs_nothing(spending: Spending) -> None:
    till = spending.till()
    for _ in range(20):
        assert till.sell(spending.account, 1, spending.price, budgets=spending.budgets).status == 200
    refused = till.sell(spending.account, 1, spending.price, budgets=spending.budgets)
    assert (refused.code, refused.status, refused.values["whose"]) == ("budget-used-up", 402, "key")
    assert till.sell(spending.account, 1, spending.price, budgets=spending.budgets[:1]).status == 200, "another key goes on"
    assert till.sell(spending.account, 1, spending.price).status == 200
    assert (spending.used(0), spending.used(1), balance_of(spending.db, spending.account, now_us()).debited) == (210_000, 200_000, 220_000)
    assert all(purse.reserved == 0 for purse in till.meter.purses.by_account.values())


def test_where_the_balance_refuses_the_budget_keeps_nothing_reserved(shop: Shop) -> None:
    found = Spending(shop, most=100_000_000)
    till = found.till()
    refusal = till.ask_draw(found.account, 11_000_000, found.budgets)
    assert refusal.code == "credit-used-up"
    assert {name: purse.reserved for name, purse in till.meter.purses.by_account.items() if purse.reserved} == {}
    till.meter.close()
    assert shop.journals.verify() == []


def test_what_a_killed_server_held_of_a_budget_comes_back(spending: Spending) -> None:
    till = Till(spending.db.again(), expires_s=0.0)
    till.sell(spending.account, 1, spending.price, budgets=spending.budgets)
    assert held_of(spending.db, spending.budgets[1].scope) > 0
    return_expired(spending.shop.journals, now_us() + 1)
    assert held_of(spending.db, spending.budgets[1].scope) == 0 and spending.used() == 10_000
    assert till.sell(spending.account, 1, spending.price, budgets=spending.budgets).status == 200
    till.meter.close()
    assert spending.shop.journals.verify() == []


# Over HTTP


@pytest.fixture
def serving(stocked: Shop) -> Iterator[tuple[Serving, Shop, str, str]]:
    key = stocked.act(key_new, customer="书店")
    gate.set()
    found = Serving(stocked, {"noop@1": Noop(), "slow@1": Fixed(slowly)})
    yield found, stocked, key.id, key.token
    gate.set()
    found.stop()


gate = threading.Event()


def slowly(records: Any) -> list[dict[str, Any]]:
    gate.wait(20)
    return [ANSWER for _ in records]


def test_a_rate_is_told_with_the_time_to_wait(serving: tuple[Serving, Shop, str, str]) -> None:
    server, shop, key, token = serving
    shop.act(limit_set, customer="书店", key=key, rate="3/hour", burst=3)
    assert eventually(lambda: server.desk.directory.picture.limits, 2)
    told = [server.predict(token) for _ in range(5)]
    assert [one.code for one in told] == ["ok"] * 3 + ["rate-limited"] * 2
    assert told[-1].status == 429 and 1190 < int(told[-1].headers["retry-after"]) <= 1200
    shop.act(limit_set, customer="书店", key=key, rate="none")
    assert eventually(lambda: server.predict(token).code == "ok", 2)


def test_so_many_at_once(serving: tuple[Serving, Shop, str, str]) -> None:
    server, shop, _, token = serving
    shop.act(price_set, model="slow", price="0.01")
    shop.act(limit_set, customer="书店", concurrency=2)
    assert eventually(lambda: server.desk.directory.picture.limits and "slow" in server.desk.directory.picture.prices, 2)
    gate.clear()
    waiting = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(2)]
    for one in waiting:
        one.request("POST", "/v1/predict/slow", json.dumps({"text": "x"}), {"authorization": f"Bearer {token}"})
    assert eventually(lambda: server.predict(token).code == "too-many-at-once", 5)
    gate.set()
    assert [one.getresponse().status for one in waiting] == [200, 200]
    assert eventually(lambda: server.predict(token).code == "ok", 2), "a slot that was left is free again"


def test_a_keys_budget_ends_that_key_alone(serving: tuple[Serving, Shop, str, str]) -> None:
    server, shop, key, token = serving
    other, test = shop.act(key_new, customer="书店").token, shop.act(key_new, customer="书店", test=True).token
    shop.act(limit_set, customer="书店", key=key, budget="0.05", soft="0.03")
    assert eventually(lambda: server.desk.directory.picture.limits and server.predict(other).code == "ok", 2)
    assert [server.predict(token).code for _ in range(7)] == ["ok"] * 5 + ["budget-used-up"] * 2
    assert server.predict(other).code == "ok" and server.predict(test).code == "ok"
    refused = server.predict(token)
    assert refused.status == 402 and key in refused.json["error"]["what"]
    assert [one.key for one in low_budgets(shop.control, month_of(now_us()))] == [key]
    assert shop.journals.verify() == []


def test_the_page_is_walked(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    Shop.open(terminal.shop)
    walk("limits.md", terminal, {})


def test_what_is_refused_before_it_begins_uses_up_no_rate(serving: tuple[Serving, Shop, str, str]) -> None:
    server, shop, key, token = serving
    shop.act(limit_set, customer="书店", key=key, rate="1/hour", burst=1)
    assert eventually(lambda: server.desk.directory.picture.limits, 2)
    refused = server.call("POST", "/v1/embeddings", {"model": "noop", "input": "x"}, key=token)
    assert refused.status in (404, 400) and server.predict(token).status == 200
    assert server.predict(token).code == "rate-limited"
