"""What runs by itself: one keeper at a time, each job on its own, faults found, told once, and seen by who looks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import stock

from mofang.core.clock import local
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.limits import limit_set
from mofang.trade.billing.balance import Balance, balance_of
from mofang.trade.billing.paid import pay
from mofang.trade.keeping import jobs, keeper, turns
from mofang.trade.keeping.jobs import DAY_US, Done, Job, night_before_us, pause_s, wait_s
from mofang.trade.keeping.keeper import HANGS, Keeper
from mofang.trade.keeping.noticed import last_reconciliation, note_low, note_unusual
from mofang.trade.keeping.past import Past, past
from mofang.trade.keeping.turns import Turn, here, holder_of
from mofang.trade.request.replay import KEPT_US, Stored, make_table, store_answers
from mofang.trade.telling import posting, sending
from mofang.trade.telling.posting import post
from mofang.trade.telling.sending import outbox_add, send_all
from tests.stories.terminal import Inside, eventually
from tests.trade.test_outbox_posts import Double


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return stock(tmp_path / "shop", price="0.01")


@pytest.fixture
def double() -> Iterator[Double]:
    made = Double()
    yield made
    made.server.shutdown()
    made.server.server_close()


def ledger(shop: Shop) -> Any:
    return shop.ledger.db.again()


def used(shop: Shop, day: str, count: int, micros: int = 0) -> None:
    """So many answered requests of the customer on a day."""
    who = find_customer(shop.control, "tester").id
    body = {"request_id": "r", "key": "k", "model": "noop@1", "package": "p", "units": 1, "price": None, "rate": 0, "micros": micros,
            "test": False, "day": day, **({"budgets": [f"{who}/"]} if micros else {})}
    shop.journals.record("usage", [NewRow("use", body, account=who) for _ in range(count)])


def days_ago(number: int) -> str:
    return str((local(now_us(), "+08:00") - timedelta(days=number)).date())


def events(double: Double) -> list[tuple[str, str]]:
    import json

    return [(told["type"], told["id"]) for told in (json.loads(body) for _, _, body in double.asked)]


# Whose turn it is


def test_one_has_the_turn_and_the_next_need_not_wait(shop: Shop) -> None:
    one, other = Turn(ledger(shop)), Turn(ledger(shop))
    assert [one.take(), other.take(), one.take()] == [True, False, True]
    assert holder_of(shop.ledger.db).endswith(one.me.split()[2])
    one.let_go()
    assert other.take() and not one.take()


def test_of_a_dead_process_it_is_taken_at_once_and_of_a_silent_machine_after_a_while(shop: Shop) -> None:
    db = ledger(shop)
    turn = Turn(db, patience_s=0.2)
    with db.transaction():
        db.run("insert into lease values(?,?,?)", (turns.KEY, f"holder_x {here()} 999999999", now_us() + 10**12))
    assert turn.take(), "that process is gone"
    turn.let_go()
    with db.transaction():
        db.run("insert into lease values(?,?,?)", (turns.KEY, "holder_y elsewhere 1", now_us() + 10**15))
    assert not turn.take(), "of another machine nobody here can tell"
    time.sleep(0.1)
    with db.transaction():
        db.run("update lease set until_us=until_us+1 where key=?", (turns.KEY,))  # it lives
    assert not turn.take()
    time.sleep(0.15)
    assert not turn.take(), "since then it has not stood still for long enough"
    time.sleep(0.1)
    assert turn.take(), "its row stands still, however far in the future it says that it ends"


def test_who_wakes_up_finds_the_turn_gone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "RENEW_S", 0.0)
    stopped, other = Turn(ledger(shop)), Turn(ledger(shop), patience_s=0.05)
    assert stopped.take() and not other.take()
    time.sleep(0.1)
    assert other.take() and not stopped.take()
    at = now_us() - 365 * DAY_US
    monkeypatch.setattr(turns, "now_us", lambda: at)
    for _ in range(3):
        time.sleep(0.03)
        assert other.take() and not stopped.take(), "a clock set back by a year takes the turn from nobody"


# When jobs are due


def test_the_night_is_the_shops_and_a_clock_set_back_starts_no_storm() -> None:
    night = jobs.JOBS[-1]
    noon = night_before_us(now_us(), "+08:00") + 8 * 3600 * 1_000_000
    for offset in ("+08:00", "-03:30", "+00:00", "+14:00"):
        at = night_before_us(noon, offset)
        assert at <= noon < at + DAY_US
        here_ = local(at, offset)
        assert (here_.hour, here_.minute) == (3, 30)
        assert night_before_us(at, offset) == at and night_before_us(at - 1, offset) == at - DAY_US
    at = night_before_us(noon, "+08:00")

    def due(now: int, **known: int) -> float:
        return wait_s(night, Past("reconcile", **known), now, "+08:00")

    assert due(noon) == 0, "never run"
    assert due(noon, began_us=at - 1, ended_us=at - 1, ok_us=at - 1) == 0, "this night's is missing"
    assert due(noon, began_us=at + 1, ended_us=at + 1, ok_us=at + 1) == (at + DAY_US - noon) / 1e6, "tomorrow"
    ahead = noon + 365 * DAY_US
    assert due(noon, began_us=ahead, ended_us=ahead, ok_us=ahead) == 86_400, "a day, whatever the clock says"
    assert due(noon, began_us=noon - 10_000_000, fails=1) == 50 and due(noon, began_us=ahead, fails=1) == 60
    assert [pause_s(fails) for fails in (0, 1, 2, 3, 7, 99)] == [0, 60, 120, 240, 3600, 3600]
    assert wait_s(jobs.JOBS[0], Past("outbox", began_us=ahead, ended_us=ahead, ok_us=ahead), noon, "+08:00") == 0


# Jobs


class Fake:
    """A job that counts its runs, and fails or hangs when told to."""

    def __init__(self, name: str, every_s: float = 0.05, most_s: float = 60.0) -> None:
        self.runs, self.fault, self.open = 0, None, threading.Event()
        self.fault: Exception | None
        self.open.set()
        self.job = Job(name, name, name, self.run, every_s=every_s, most_s=most_s)

    def run(self, _shop: Shop) -> Done:
        self.runs += 1
        self.open.wait(30)
        if self.fault is not None:
            raise self.fault
        return Done(2, 1)


def keeping(shop: Shop, *fakes: Fake) -> tuple[Keeper, threading.Event, threading.Thread, list[int]]:
    made, ended, status = Keeper(shop.again(), [one.job for one in fakes], tick_s=0.01), threading.Event(), []
    thread = threading.Thread(target=lambda: status.append(made.run(ended)), daemon=True)
    thread.start()
    return made, ended, thread, status


def test_a_job_that_fails_or_hangs_stops_no_other(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, full, slow = Fake("good"), Fake("bad"), Fake("full"), Fake("slow", most_s=1.0)
    bad.fault, full.fault = MofangError("host-unknown", host="x"), OSError(28, "No space left on device")
    slow.open.clear()
    _, _, thread, status = keeping(shop, bad, slow, full, good)
    thread.join(30)
    assert status == [HANGS], "the process ends, since a thread cannot be stopped"
    assert good.runs > 3 and (bad.runs, full.runs, slow.runs) == (1, 1, 1), "what failed waits for a minute"
    told = past(shop.control)
    assert (told["good"].fails, told["good"].done, told["good"].found) == (0, 2, 1) and told["good"].ok_us
    assert [(told[one].fails, told[one].said) for one in ("bad", "full", "slow")] == [(1, "host-unknown"), (1, "disk-full"), (1, "job-hangs")]
    again = Fake("slow", most_s=1.0), Fake("good")
    _, ended, thread, status = keeping(shop, *again)
    assert eventually(lambda: again[1].runs > 2, 20) and again[0].runs == 0, "in the next one it waits, the others go on"
    monkeypatch.setattr(jobs, "MINUTE_S", 0.01)
    ended.set()
    thread.join(30)
    assert status == [0]
    _, ended, thread, _ = keeping(shop, *again)
    assert eventually(lambda: again[0].runs > 1, 20), "and is tried again later"
    ended.set()
    thread.join(30)
    assert past(shop.control)["slow"].fails == 0
    slow.open.set()  # a process would have ended long ago


def test_two_keepers_of_a_shop_run_a_job_once(shop: Shop) -> None:
    fakes = [Fake("night", every_s=3600.0) for _ in range(2)]
    running = [keeping(shop, one) for one in fakes]
    assert eventually(lambda: sum(one.runs for one in fakes) == 1, 20)
    time.sleep(0.3)
    assert sum(one.runs for one in fakes) == 1
    idle = 0 if fakes[1].runs else 1
    assert running[idle][0].turn.mine != running[1 - idle][0].turn.mine
    for _, ended, thread, _ in running:
        ended.set()
        thread.join(30)


def test_a_disk_that_takes_no_trace_keeps_nothing_from_running(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    refused: list[Any] = []

    def refuse(*given: Any) -> None:
        refused.append(given)
        raise sqlite3.OperationalError("database or disk is full")

    fake = Fake("good")
    monkeypatch.setattr(keeper, "pause_s", lambda fails: 0.02)
    with monkeypatch.context() as full:
        full.setattr(keeper, "begin", refuse)
        _, ended, thread, _ = keeping(shop, fake)
        assert eventually(lambda: len(refused) > 2, 20) and thread.is_alive()
        assert fake.runs == 0, "what cannot be written down is not begun"
    assert eventually(lambda: fake.runs > 1, 20), "tried again, and there is room"
    ended.set()
    thread.join(30)


def test_the_first_run_by_hand_and_what_it_leaves(shop: Shop, double: Double) -> None:
    terminal = Inside(shop.path.parent)
    assert "never run" in terminal.type("jobs").out and "从未运行" in Inside(shop.path.parent, "zh").type("jobs").out
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    shop.act(pay, customer="tester", amount="5", reference="one")
    shown = terminal.type("jobs", "run").out
    assert "outbox: 1 done" in shown and "reconcile: 0 done, 0 found" in shown
    assert [kind for kind, _ in events(double)] == ["payment.booked"]
    rows = {one["name"]: one for one in terminal.type("jobs", "--json").json}
    assert all(one["fails"] == 0 and one["ended_us"] >= one["began_us"] > 0 for one in rows.values()) and len(rows) == len(jobs.JOBS)
    assert "by itself" in terminal.type().out and "everything fits" in terminal.type("status").out
    assert "It ran by itself at" in terminal.type("outbox").out and "It ran by itself at" in terminal.type("reconcile").out
    assert terminal.type("jobs", "run", "reconcil", status=1).code == "job-name-unknown"
    assert "watch: 0 done" in terminal.type("jobs", "run", "watch").out
    held = Turn(ledger(shop))
    assert held.take() and "Another process" in terminal.type("jobs", "run").out
    held.let_go()
    assert shop.journals.verify() == []


def test_a_fault_is_seen_told_and_over_when_it_is_mended(shop: Shop, double: Double) -> None:
    terminal = Inside(shop.path.parent)
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    access = shop.path / "scratch" / "access"
    access.mkdir(parents=True)
    (access / "x.log").write_text(f"{now_us()} req_never_metered\n")
    terminal.type("jobs", "run", "reconcile")
    assert last_reconciliation(shop.control)["missing"] == ["req_never_metered"]  # type: ignore[index]
    told = terminal.type("status", "--json").json
    assert [one["code"] for one in told["alerts"]][:1] == ["reconcile-differs"] and told["next"][0] == "mofang reconcile"
    assert "不符" in Inside(shop.path.parent, "zh").type("status").out
    terminal.type("reconcile", status=3)
    send_all(shop, post)
    assert [kind for kind, _ in events(double)] == ["reconcile.differs"], "what is typed by hand is told to nobody"
    (access / "x.log").unlink()
    terminal.type("reconcile", "--days", "1")
    assert terminal.type("status", "--json").json["alerts"], "a shorter look takes nothing back"
    terminal.type("reconcile")
    assert "reconcile-differs" not in [one["code"] for one in terminal.type("status", "--json").json["alerts"]]
    assert shop.journals.verify() == []


def test_a_soft_budget_and_unusual_volume_are_told_once(shop: Shop, double: Double) -> None:
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    used(shop, days_ago(0), 3, micros=1_000_000)
    shop.act(limit_set, customer="tester", budget="100", soft="4")
    assert note_low(shop) == 0
    used(shop, days_ago(0), 1, micros=1_000_000)
    shop.act(limit_set, customer="tester", soft="2")  # below what is used: no commit passes it any more
    assert note_low(shop) == 1 and note_low(shop) == 0
    for day in range(1, 9):
        used(shop, days_ago(day), 20)
    assert note_unusual(shop) == 0
    used(shop, days_ago(0), 600)
    assert note_unusual(shop) == 1 and note_unusual(shop.again()) == 0
    send_all(shop, post)
    send_all(shop, post)
    assert [kind for kind, _ in events(double)] == ["budget.passed", "usage.unusual"]
    codes = [one["code"] for one in Inside(shop.path.parent).type("status", "--json").json["alerts"]]
    assert {"budget-low", "volume-unusual"} <= set(codes)
    assert shop.journals.verify() == []


def test_what_has_had_its_time_ends(shop: Shop) -> None:
    """A killed server's allotment, an answer for retries, money to be used by a day: without any server."""
    who = find_customer(shop.control, "tester")
    make_table(shop.control)
    old, fresh = now_us() - KEPT_US - 1, now_us()
    store_answers(shop.control, ((f"{who.id}/{n}", Stored("d", "r", 200, b"{}")) for n in range(450)), old)
    store_answers(shop.control, [(f"{who.id}/fresh", Stored("d", "r", 200, b"{}"))], fresh)
    with shop.control.transaction():
        shop.journals.append("usage", [NewRow("draw", {"micros": 7_000_000, "expires_us": fresh - 1}, account=who.id)], writer="custom-x")

    def standing() -> Balance:
        return balance_of(shop.control, who.id, now_us())

    assert standing().held == 7_000_000
    assert jobs.expire(shop) == Done(451) and jobs.expire(shop) == Done(0)
    assert standing().held == 0 and shop.control.rows("select name from replay") == [(f"{who.id}/fresh",)]
    assert shop.journals.verify() == []


# Endpoints that behave badly


class Drip(threading.Thread):
    """It takes a request and then sends a sign of its answer now and then, for ever."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                caller, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._drip, args=(caller,), daemon=True).start()

    def _drip(self, caller: socket.socket) -> None:
        with caller:
            try:
                caller.sendall(b"HTTP/1.1 200 OK\r\n")
                while not self.over.wait(0.05):
                    caller.sendall(b"x-more: 1\r\n")
            except OSError:
                return


def test_an_endpoint_that_drips_is_left_and_keeps_no_other_waiting(shop: Shop, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "WITHIN_S", 1.0)
    drip = Drip()
    drip.start()
    shop.act(outbox_add, name="a-drips", url=f"http://{drip.place}", allow_private=(drip.place,))
    shop.act(outbox_add, name="b-takes", url=double.url, allow_private=(double.place,))
    shop.act(pay, customer="tester", amount="5", reference="one")
    began_s = time.monotonic()
    sent: list[Any] = []
    telling = threading.Thread(target=lambda: sent.extend(send_all(shop.again(), post)), daemon=True)
    telling.start()
    assert eventually(lambda: len(double.asked) == 1, 20) and telling.is_alive(), "told while the other one drips"
    telling.join(20)
    drip.over.set()
    drip.socket.close()
    assert time.monotonic() - began_s < 10
    assert sorted((one.endpoint, one.ok, one.said) for one in sent) == [("a-drips", False, "answer-too-slow"), ("b-takes", True, "ok")]


def test_a_fault_nobody_foresaw_is_written_down_and_tried_again(shop: Shop, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    shop.act(pay, customer="tester", amount="5", reference="one")

    def broken(*_: Any) -> str:
        raise RuntimeError("planted")

    assert [(one.said, one.again) for one in send_all(shop, broken)] == [("RuntimeError", True)]
    assert send_all(shop, post) == [], "after its pause, not at once"
    at = now_us() + 31_000_000
    monkeypatch.setattr(sending, "now_us", lambda: at)
    assert [one.ok for one in send_all(shop, post)] == [True]
    assert sending.waiting_at(shop.control, 0)[0] and not sending.waiting_at(shop.control, shop.journals.position("outbox"))[0]


@pytest.mark.cluster
def test_over_postgresql_one_keeper_runs_the_jobs(
    tmp_path: Path, postgres_url: str, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.open(tmp_path / "shop", database=postgres_url)
    stock(tmp_path / "shop", price="0.01")
    shop.act(outbox_add, name="hook", url=double.url, allow_private=(double.place,))
    used(shop, days_ago(0), 3, micros=1_000_000)
    shop.act(limit_set, customer="tester", budget="100", soft="2")
    first, second = Turn(ledger(shop)), Turn(ledger(shop), patience_s=0.1)
    assert first.take() and not second.take()
    time.sleep(0.2)
    assert second.take()
    second.let_go()
    made = Keeper(shop.again())
    found = made.once()
    assert found is not None and found["watch"] == Done(1, 1) and found["reconcile"].found == 0, found
    assert all(one.fails == 0 and one.ok_us for one in past(shop.control).values()) and len(past(shop.control)) == len(jobs.JOBS)
    send_all(shop, post)
    assert [kind for kind, _ in events(double)] == ["budget.passed"]
    assert jobs.expire(shop).found == 0 and shop.journals.verify() == []
    monkeypatch.setattr(keeper, "RETRY_S", 0.1)
    fake = Fake("good")
    _, ended, thread, status = keeping(shop, fake)
    assert eventually(lambda: fake.runs > 1, 20)
    monkeypatch.setattr(keeper, "pause_s", lambda fails: 0.05)
    ended_others = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname=current_database() and pid<>pg_backend_pid()"
    assert int(shop.control.rows(ended_others)[0][0]) >= 2
    before = fake.runs
    assert eventually(lambda: fake.runs > before + 2, 30), "a database that was started anew is asked again"
    ended.set()
    thread.join(30)
    assert status == [0]
