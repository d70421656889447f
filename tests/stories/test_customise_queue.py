"""The queue of customisations: asked for by the seller or the customer, taken in order, ended by rows, the books balanced."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.customs import orders, queue
from mofang.trade.customs.jobs import jobs
from mofang.trade.customs.served import Private
from mofang.wire import own_models
from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server, Terminal, eventually
from tests.stories.test_customise import CANARY, holding, own_rows

CUT = """
import os, signal, sys
from mofang.core.shop import Shop
from mofang.trade.customs import delivery, queue
delivery._settled = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
queue.work_once(Shop.open(sys.argv[1], make=False))
"""
BEANS = "/v1/customisations/beans"


@pytest.fixture(scope="module")
def company(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    folder = tmp_path_factory.mktemp("queue") / "company"
    shutil.copytree(made.folder, folder)
    own_rows(folder / "own.jsonl", 60)
    terminal = Inside(folder)
    terminal.type("price", "set", "reviews", "5.00/1000", "--yes")
    for name in ("Acme", "Birch"):
        terminal.type("customer", "new", name, "--credit", "1000")
    return terminal


@pytest.fixture
def shop(company: Inside) -> Iterator[Shop]:
    """The shop beside the commands; every test leaves the books balanced."""
    found = Shop.open(company.shop, make=False)
    yield found
    assert found.journals.verify() == [] and jobs(found.control, *queue.OPEN) == []


def work(company: Inside, status: int | None = 0) -> Any:
    """``mofang customise work --once``; this process keeps its own priority."""
    with mock.patch("os.nice", return_value=0):
        return company.type("customise", "work", "--once", status=status)


def order(company: Inside, name: str, *more: str, price: str = "40.00", customer: str = "Acme") -> None:
    company.type("customise", "new", customer, "--base", "reviews@1", "--name", name, "--price", price, *more)
    company.type("customise", "add", name, "own.jsonl")


def free(shop: Shop, customer: str = "Acme") -> int:
    """What a customer may still spend."""
    account = shop.control.rows("select account from account where name=?", (customer,))[0][0]
    return balance_of(shop.control, account, now_us()).available


def told(company: Inside, name: str) -> dict[str, Any]:
    found: dict[str, Any] = company.type("customise", "status", name, "--json").json
    return found


def test_the_customer_asks_for_the_run_and_sees_it_through(company: Inside, shop: Shop) -> None:
    before = free(shop)
    company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "beans", "--price", "40.00", "--own-run")
    company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "tea", "--price", "10.00")
    with Server(company) as server:
        mine, other = company.token("Acme"), company.token("Birch")
        limited = company.token("Acme", "--model", "reviews")
        assert eventually(lambda: server.call("GET", BEANS, key=limited).status != 401, 5)
        assert server.call("POST", f"{BEANS}/run", key=mine).code == "customise-no-records"
        sent = (company.folder / "own.jsonl").read_bytes()
        assert server.call("POST", f"{BEANS}/records", sent, key=mine, content_type="application/x-ndjson").json["taken"] == 60
        assert server.call("GET", BEANS, key=mine).json["state"] == "ordered"
        asked, again = (server.call("POST", f"{BEANS}/run", key=mine) for _ in range(2))
        assert asked.status == again.status == 202 and asked.json["asked_us"] == again.json["asked_us"], "it waits once"
        assert asked.json["state"] == "queued" and asked.json["place"] == 1 and asked.json["starts_in_s"] == 0
        for method, path in (("GET", BEANS), ("POST", f"{BEANS}/run"), ("POST", f"{BEANS}/cancel")):
            theirs, nobodys = (server.call(method, one, key=other) for one in (path, path.replace("beans", "nobodys")))
            assert (theirs.status, theirs.code) == (nobodys.status, nobodys.code) == (404, "customise-unknown")
            assert server.call(method, path, key=limited).code == "key-scope" and server.call(method, path).code == "key-missing"
        assert server.call("POST", "/v1/customisations/tea/run", key=mine).code == "customise-run-not-allowed"
        assert server.call("POST", "/v1/customisations/tea/cancel", key=mine).status == 403
        assert company.type("customise", "quote", "beans", "--price", "1.00", status=1).code == "customise-queued"
        assert "place 1" in company.type("customise", "status", "beans").out
        said = work(company).out
        assert "beans: begun" in said and "beans: delivered" in said and "charged once: ¥40.00" in said
        done = server.call("GET", BEANS, key=mine).json
        assert (done["state"], done["version"], done.get("percent", 100)) == ("delivered", 1, 100)
        assert eventually(lambda: server.predict("beans", {"评论": "咖啡机冒烟"}, mine).status == 200, 5)
        assert server.call("POST", f"{BEANS}/run", key=mine).code == "customise-delivered"
        listed = {one["name"]: one["state"] for one in server.call("GET", "/v1/customisations", key=mine).json["customisations"]}
        assert listed == {"beans": "delivered", "tea": "ordered"}
    company.type("customise", "delete", "tea", "--yes")
    assert before - free(shop) == 40_000_000 + 5_000, "the price, and one call"
    assert company.type("verify").status == 0


def test_in_the_order_of_asking_and_bounded(company: Inside, shop: Shop) -> None:
    before = {name: free(shop, name) for name in ("Acme", "Birch")}
    for name in ("one", "two", "three", "four"):
        order(company, name)
    order(company, "other", customer="Birch")
    for name in ("two", "one", "three"):
        company.type("customise", "run", name, "--queue")
    refused = company.type("customise", "run", "four", "--queue", status=1)
    assert refused.code == "customise-queue-full"
    assert company.type("customise", "run", "other", "--queue", "--json").json["place"] == 4
    assert [told(company, name)["place"] for name in ("two", "one", "three")] == [1, 2, 3]
    assert told(company, "other")["starts_in_s"] >= 3 * 10, "the estimates of those before it"
    gone = company.type("customise", "cancel", "two", "--json").json
    assert gone["state"] == "ordered" and gone["held"] == "¥0.00"
    assert company.type("customise", "cancel", "two", status=1).code == "customise-not-queued"
    assert told(company, "other")["place"] == 3 and "2" in company.type("customise").out
    company.type("customise", "run", "four", "--queue")
    taken: list[str] = []

    def run(_act: Any, custom: str, *_rest: Any) -> Any:
        taken.append(orders.find_custom(shop.control, custom).name)
        raise MofangError("customise-too-few", rows=3, least=20)

    with mock.patch("mofang.trade.customs.queue.run_held", run):
        said = work(company).out
        assert "Nothing waits in the queue" in said
    assert taken == ["one", "three", "other", "four"] and said.count("declined (customise-too-few)") == 4
    why = told(company, "one")
    assert why["state"] == "declined" and why["reason"]["code"] == "customise-too-few" and "3 records" in why["reason"]["what"]
    assert "3 records" in company.type("customise", "status", "one").out
    assert {name: free(shop, name) for name in before} == before, "nothing is held, nothing charged"
    for name in ("one", "two", "three", "four", "other"):
        company.type("customise", "delete", name, "--yes")


def test_holds_come_back_whichever_way_it_ends(company: Inside, shop: Shop) -> None:
    """Cancelled, declined, expired, and taken again; what a queued run holds outlives its quote."""
    before = free(shop)
    order(company, "held", "--days", "2")
    assert before - free(shop) == 40_000_000
    company.type("customise", "run", "held", "--queue")
    company.type("customise", "cancel", "held")
    assert free(shop) == before
    company.type("customise", "run", "held", "--queue")
    assert before - free(shop) == 40_000_000, "asked for again, it is set aside again"
    later = now_us() + 3 * orders.DAY_US
    with mock.patch("mofang.trade.customs.orders.now_us", lambda: later):
        orders.open_orders(shop)
        assert before - free(shop) == 40_000_000, "the quote is over, the run waits and holds its price"
    company.type("customise", "cancel", "held")
    company.type("customise", "run", "held", "--queue")
    with mock.patch("mofang.trade.customs.orders.now_us", lambda: later + 7 * orders.DAY_US):
        done = queue.work_once(shop)
    assert done is not None and done.reason == "customise-quote-expired" and free(shop) == before, "no worker came for a week"
    with mock.patch("mofang.trade.customs.queue.ASKED_MOST", 2):
        assert company.type("customise", "run", "held", "--queue", status=1).code == "customise-asked-often"
    with mock.patch("mofang.trade.customs.orders.now_us", lambda: later), \
            mock.patch("mofang.trade.customs.delivery.now_us", lambda: later):
        assert company.type("customise", "run", "held", "--queue", status=1).code == "customise-quote-expired"
    company.type("customise", "quote", "held", "--price", "30.00")
    assert before - free(shop) == 30_000_000
    with mock.patch("mofang.trade.customs.orders.now_us", lambda: now_us() + 15 * orders.DAY_US):
        orders.open_orders(shop)
    assert free(shop) == before, "an expired quote gives its hold back without a server"
    company.type("customise", "quote", "held", "--price", "900.00")
    assert company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "more", "--price", "100.00",
                        status=1).code == "customise-unpaid"
    company.type("customise", "delete", "held", "--yes")
    assert free(shop) == before


def test_faults_are_tried_again_and_given_up(company: Inside, shop: Shop) -> None:
    """A fault of the machine's waits and is tried again, one of the records' is final; no word of a fault is kept."""
    before = free(shop)
    order(company, "flaky")
    faults: list[BaseException] = [RuntimeError("a row said 金丝雀"), MofangError("disk-full", place="/x"),
                                   RuntimeError("金丝雀")]
    company.type("customise", "run", "flaky", "--queue")
    moments = iter(range(0, 10**12, 10**10))
    with mock.patch("mofang.trade.customs.queue.run_held", side_effect=faults):
        for number in (1, 2, 3):
            now = now_us() + next(moments)
            with mock.patch("mofang.trade.customs.queue.now_us", lambda now=now: now):
                done = queue.work_once(shop)
                assert done is not None and done.state == ("waiting" if number < 3 else "declined"), (number, done)
                if number < 3:
                    assert queue.work_once(shop) is None, "not at once"
    assert told(company, "flaky")["reason"]["code"] == "customise-failed" and free(shop) == before
    assert "金丝雀" not in "".join(row.text for row in shop.journals.rows("custom")), "no word of a fault is kept"
    company.type("customise", "run", "flaky", "--queue")
    with mock.patch("mofang.trade.customs.queue.run_held", side_effect=SystemExit):  # as a kill: nothing is written
        for _ in range(queue.TRIES_MOST):
            with pytest.raises(SystemExit):
                queue.work_once(shop)
        assert told(company, "flaky")["state"] == "running"
        done = queue.work_once(shop)
    assert done is not None and done.reason == "customise-gave-up" and free(shop) == before
    company.type("customise", "delete", "flaky", "--yes")


def test_one_worker_takes_it_and_others_do_not(company: Inside, shop: Shop) -> None:
    """Beside a worker: none on this machine, none of another machine, no direct run; a cancel stops it at its next step."""
    before = free(shop)
    order(company, "alone")
    company.type("customise", "run", "alone", "--queue")
    seen: dict[str, Any] = {}

    def beside(_custom: Any) -> None:
        again = shop.again()
        seen["here"] = queue.work_once(again)
        with mock.patch("socket.gethostname", return_value="elsewhere"):
            seen["there"] = queue.work_once(again)
        seen["delete"] = company.type("customise", "delete", "alone", "--yes", status=1).code
        seen["running"] = told(company, "alone")["state"]
        seen["cancel"] = company.type("customise", "cancel", "alone", "--json").json["state"]
        company.type("customise", "cancel", "alone")

    done = queue.work_once(shop, beside)
    assert seen == {"here": None, "there": None, "delete": "customise-running", "running": "running", "cancel": "stopping"}
    assert done is not None and done.state == "cancelled" and free(shop) == before
    company.type("customise", "run", "alone", "--queue")
    with mock.patch("mofang.trade.customs.queue.run_held", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        queue.work_once(shop)
    assert (told(company, "alone")["state"], told(company, "alone")["tries"]) == ("queued", 0), "only the worker stopped"
    company.type("customise", "delete", "alone", "--yes")
    assert queue.work_once(shop) is None and free(shop) == before, "deleted while queued: nobody takes it up"
    company.type("customise", "delete", "alone", "--yes", "--out", "twice.json")
    assert (company.folder / "twice.json").read_bytes() == (company.folder / "alone-deleted.json").read_bytes()


def started(company: Inside) -> Any:
    return Terminal(company.folder).start("customise", "work", "--once", start_new_session=True)


@pytest.mark.cluster  # starts and kills processes
def test_a_killed_worker_is_followed_by_the_next(company: Inside, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it teaches: the next goes on with the parts that were made, and one charge stands at the end. What lay in
    plain when it was killed lay in the room, and is gone when the next has ended."""
    before = free(shop)
    (company.folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(company.folder / "tmp"))
    company.type("rates", "--machine-hour", "¥360")
    order(company, "killed", price="")
    asked = orders.find_custom(shop.control, "killed")
    company.type("customise", "run", "killed", "--queue")
    first = started(company)
    place = company.shop / "custom" / orders.find_custom(shop.control, "killed").id
    assert eventually(lambda: told(company, "killed").get("percent", 0) >= 10, 60), first.communicate()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert told(company, "killed")["state"] == "running" and free(shop) == before - asked.micros
    room_only = ("own.jsonl", f"{place.name}{os.sep}scratch")
    assert not holding(company.folder, CANARY, but=room_only), "in plain in its own room, and nowhere else"
    made = len(list(Shop(place).ledger.entries("done")))
    second, third = started(company), started(company)
    said = second.communicate()[0] + third.communicate()[0]
    assert said.count("killed: delivered") == 1, said
    room = Shop(place)
    names = [one.body["stage"] for one in room.ledger.entries("done")]
    assert made >= 3 and len(names) == len(set(zip(names, [one.key for one in room.ledger.entries("done")], strict=True)))
    charged = [one for one in oneoffs(shop.control) if one.what.startswith("killed@")]
    used_s = round(sum(one.body["cost"]["own"]["wall_s"] for one in room.ledger.entries("done")), 3)
    owed = min(asked.micros, orders.whole(math.ceil(used_s) * asked.hour_micros, "CNY"))
    assert [one.micros for one in charged] == [owed] and before - free(shop) == owed, "every step once, whoever made it"
    assert told(company, "killed")["state"] == "delivered" and company.type("verify").status == 0
    assert not holding(company.folder, CANARY, but=("own.jsonl",)), "nothing lies in plain any more"


@pytest.mark.cluster  # a supervisor and two workers
def test_deleted_while_several_workers_serve_it(company: Inside, shop: Shop) -> None:
    """Each of them lets go within a second; nothing of the room is left, nor made anew by one that was slow."""
    order(company, "shared", price="2.00")
    company.type("customise", "run", "shared")
    place = company.shop / "custom" / orders.find_custom(shop.control, "shared").id
    key = company.token("Acme")
    with Server(company, "--workers", "2") as server:
        def status() -> int:
            return server.predict("shared", {"评论": "咖啡机冒烟"}, key).status

        assert eventually(lambda: [status() for _ in range(8)] == [200] * 8, 20)
        company.type("customise", "delete", "shared", "--yes")
        assert eventually(lambda: [status() for _ in range(8)] == [404] * 8, 5), server.predict("shared", {"评论": "a"}, key)
        assert not place.exists() and [status() for _ in range(20)] == [404] * 20 and not place.exists()
        assert not holding(company.folder, CANARY, but=("own.jsonl",))
    assert company.type("verify").status == 0
    late, gone = own_models(shop), orders.find_custom(shop.control, "shared")
    late.follow({"shared": Private("shared@1", gone.account, gone.id, gone.delivered)})  # a server that was not told yet
    assert asyncio.run(late.find(gone.account, "shared")) is None and not place.exists()


@pytest.mark.cluster  # kills between the two halves of a delivery
def test_a_kill_between_delivery_and_charge(company: Inside, shop: Shop) -> None:
    """The entry stands, nothing is charged and nobody is served; the next worker charges once."""
    before = free(shop)
    order(company, "between", price="7.00")
    company.type("customise", "run", "between", "--queue")
    child = subprocess.run([sys.executable, "-c", CUT, str(company.shop)], env=company.environment, timeout=100, check=False)
    assert child.returncode == -signal.SIGKILL
    found = orders.find_custom(shop.control, "between")
    entries = [one.id for one in shop.ledger.entries("done") if (one.body.get("foreign") or {}).get("room") == found.id]
    assert len(entries) == 1 and found.version == 0 and free(shop) == before - 7_000_000, "entered, held, not charged"
    done = queue.work_once(shop)
    assert done is not None and done.delivered is not None and done.delivered.charged is not None
    assert done.delivered.charged.source_entry == entries[0] and free(shop) == before - 7_000_000
    assert len([one for one in oneoffs(shop.control) if one.source_entry == entries[0]]) == 1


def test_a_worker_at_low_priority_ends_when_asked(company: Inside, shop: Shop) -> None:
    with mock.patch("os.nice", return_value=0) as nice, mock.patch("time.sleep", side_effect=KeyboardInterrupt):
        done = company.type("customise", "work", status=None)
    assert nice.called and nice.call_args_list[-1].args[0] > 0 and "Nothing waits" in done.out
    assert jobs(shop.control, *queue.OPEN) == []
