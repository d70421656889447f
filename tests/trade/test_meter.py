"""The meter: charged once, never over the limit by a micro, nothing answered that was not recorded."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import Row
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer, customer_new, customer_top_up, find_customer
from mofang.trade.billing.balance import Balance, balance_of, return_expired, usage_report
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.request.commit import SHARE, Draw, Find
from mofang.trade.request.meter import Meter
from mofang.trade.request.purses import Purses
from mofang.trade.request.replay import KEPT_US, Stored, forget_old
from tests.trade.at_meter import Till, Waiting

YUAN = 1_000_000
LATER_US = 3600 * 1_000_000


class Books:
    """A shop with one customer and one price, and tills on demand."""

    def __init__(self, shop: Shop, credit: str, price: str) -> None:
        self.shop = shop
        self.customer: Customer = shop.act(customer_new, name="Ming", credit=credit)
        self.price: Price = shop.act(price_set, model="reviews", price=price)
        self.tills: list[Till] = []

    def till(self, **settings: Any) -> Till:
        self.tills.append(Till(self.db.again(), **settings))
        return self.tills[-1]

    @property
    def db(self) -> Database:
        return self.shop.journals.db

    @property
    def account(self) -> str:
        return self.customer.id

    def balance(self) -> Balance:
        return balance_of(self.db, self.account, now_us())

    def uses(self, account: str | None = None) -> list[Row]:
        return [row for row in self.shop.journals.rows("usage", account=account) if row.kind == "use"]

    def close(self) -> None:
        for till in self.tills:
            till.meter.close()
        assert self.shop.journals.verify() == []
        own = [row.body for row in self.uses(self.account)]
        exact = sum(Fraction(body["units"] * body["rate"], 10**6) for body in own if not body["test"])
        assert 0 <= exact - self.balance().debited < 1, "all debits are the exact price, less a part of a micro"
        assert sum(body["micros"] for body in own) == self.balance().debited


@pytest.fixture
def books(any_shop: Shop, request: pytest.FixtureRequest) -> Iterator[Books]:
    """``@pytest.mark.parametrize("books", [(credit, price)], indirect=True)``; ¥10 and ¥5.00/1000 without it."""
    made = Books(any_shop, *getattr(request, "param", ("10", "5.00/1000")))
    yield made
    made.close()


def test_an_answer_is_charged_and_recorded(books: Books) -> None:
    told = books.till().sell(books.account, 3, books.price)
    assert isinstance(told, Stored) and told.status == 200 and not told.replayed
    (row,) = books.uses()
    assert row.body == {"request_id": row.id, "key": "key", "model": "reviews@1", "package": "run_x", "units": 3,
                        "price": 1, "rate": books.price.rate, "micros": 15_000, "test": False}
    assert row.account == books.account and books.balance().debited == 15_000
    report = usage_report(books.db, books.customer, now_us())
    assert report["spent"] == "0.015" and report["available"] == "9.985" and report["usage"][0]["units"] == 3


def test_a_test_key_is_metered_and_free(books: Books) -> None:
    assert books.till().sell(books.account, 3, None).status == 200
    assert books.uses()[0].body["test"] and books.balance().debited == 0
    assert usage_report(books.db, books.customer, now_us())["usage"][0]["requests"] == 1


@pytest.mark.parametrize("books", [("10", "0.0000337/1000")], indirect=True)
def test_parts_of_a_micro_are_carried(books: Books) -> None:
    till = books.till()
    for units in (1, 7, 1, 1, 30, 999, 1):
        till.sell(books.account, units, books.price)
    assert books.balance().debited == 1040 * books.price.rate // 10**6


@pytest.mark.parametrize("books", [("0.05", "0.01")], indirect=True)
def test_the_limit_is_reached_and_never_passed(books: Books) -> None:
    till = books.till()
    told = [till.sell(books.account, 1, books.price) for _ in range(7)]
    assert [getattr(one, "code", "ok") for one in told] == ["ok"] * 5 + ["credit-used-up"] * 2
    assert books.balance() == Balance(50_000, 0, 50_000, 50_000, 0)
    books.shop.act(customer_top_up, customer="Ming", amount="0.02", reference="a")
    told = [till.sell(books.account, 1, books.price) for _ in range(3)]
    assert [getattr(one, "code", "ok") for one in told] == ["ok", "ok", "credit-used-up"]


@pytest.mark.parametrize("books", [("0.5", "0.01")], indirect=True)
def test_sixty_four_callers_at_the_edge_over_four_processes(books: Books) -> None:
    """Budgets that are checked and then spent let parallel requests through: serving.md 6, case 6."""
    tills = [books.till() for _ in range(4)]
    told: list[Any] = []

    def call(number: int) -> None:
        for _ in range(3):
            told.append(tills[number % 4].sell(books.account, 1, books.price))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = [one for one in told if isinstance(one, Stored)]
    assert len(told) == 192 and {one.code for one in told if isinstance(one, MofangError)} == {"credit-used-up"}
    assert len(answered) == len(books.uses()) == books.balance().debited // 10_000 <= 50
    assert len(answered) > 50 - 4 * 8, "little of the money is left unused in allotments"


def test_a_retry_gets_the_first_answer_and_pays_nothing(books: Books) -> None:
    till = books.till()
    first = till.sell(books.account, 1, books.price, retry_key="a", digest="x")
    again = books.till().sell(books.account, 1, books.price, retry_key="a", digest="x")
    assert again.replayed and (again.body, again.request_id) == (first.body, first.request_id)
    other = till.sell(books.account, 1, books.price, retry_key="a", digest="y")
    assert other.code == "retry-key-reused" and other.status == 422
    assert len(books.uses()) == 1


def test_two_processes_answer_the_same_retry_and_one_charges(books: Books) -> None:
    """Both looked before either had committed; the transaction decides."""
    one, other = books.till(), books.till()
    assert one.ask(Find, books.account, "a") is None and other.ask(Find, books.account, "a") is None
    for till in (one, other):
        assert till.reserve(books.account, 5000) is None
    first = one.charge(books.account, 1, books.price, retry_key="a", digest="x")
    second = other.charge(books.account, 1, books.price, retry_key="a", digest="x")
    assert second.replayed and second.body == first.body and len(books.uses()) == 1
    third = one.reserve(books.account, 5000) or one.charge(books.account, 1, books.price, retry_key="a", digest="y")
    assert third.code == "retry-key-reused" and len(books.uses()) == 1


def test_the_same_key_of_two_customers_are_two_keys(books: Books) -> None:
    """A deduplication key without its tenant suppresses another's usage: serving.md 6, case 10."""
    other = books.shop.act(customer_new, name="Li")
    till = books.till()
    for account in (books.account, other.id):
        assert not till.sell(account, 1, books.price, retry_key="a", digest="x").replayed
    assert len(books.uses()) == 2


def test_stored_answers_are_kept_for_a_day(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    till = books.till()
    till.sell(books.account, 1, books.price, retry_key="a", digest="x")
    assert forget_old(books.db, now_us()) == 0
    monkeypatch.setattr("mofang.trade.request.meter.now_us", lambda: now_us() + KEPT_US + 1_000_000)
    assert not till.sell(books.account, 1, books.price, retry_key="a", digest="y").replayed
    assert forget_old(books.db, now_us() + 3 * KEPT_US) == 1 and len(books.uses()) == 2


def test_what_a_killed_server_held_comes_back(books: Books) -> None:
    killed = books.till(expires_s=0.0)
    killed.sell(books.account, 1, books.price)
    held = books.balance().held
    assert 0 < held < 10 * YUAN // SHARE + 5000
    assert return_expired(books.till().meter.journals, now_us()) == 0, "the new server has returned it at its start"
    assert books.balance() == Balance(10 * YUAN, 0, 5000, 5000, 0)


def test_a_server_that_slept_too_long_draws_anew_before_it_charges(books: Books) -> None:
    slow = books.till()
    assert slow.reserve(books.account, 5000) is None
    assert return_expired(books.shop.journals, now_us() + LATER_US) == 1 and books.balance().held == 0
    assert slow.charge(books.account, 1, books.price).status == 200
    assert books.balance().debited == 5000


@pytest.mark.parametrize("books", [("0.01", "0.01")], indirect=True)
def test_a_server_that_slept_while_the_money_was_spent_answers_nobody(books: Books) -> None:
    slow, quick = books.till(), books.till()
    assert slow.reserve(books.account, 10_000) is None
    return_expired(books.shop.journals, now_us() + LATER_US)
    assert quick.sell(books.account, 1, books.price).status == 200
    assert slow.charge(books.account, 1, books.price).code == "credit-used-up"
    assert books.balance().debited == 10_000


def test_a_reservation_that_is_given_up_costs_nothing(books: Books) -> None:
    till = books.till()
    assert till.reserve(books.account, 5000) is None
    till.meter.release(books.account, 5000)
    assert till.meter.purses.by_account[books.account].reserved == 0
    till.meter.close()
    assert books.balance() == Balance(10 * YUAN, 0, 0, 0, 0)


def test_an_idle_allotment_is_returned(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofang.trade.request.meter.IDLE_S", -1.0)
    till = books.till()
    till.sell(books.account, 1, books.price)
    assert books.balance().held > 0
    till.meter.tick()
    until = time.monotonic() + 10
    while books.balance().held and time.monotonic() < until:
        time.sleep(0.01)
    assert books.balance().held == 0 and till.sell(books.account, 1, books.price).status == 200


def test_many_answers_share_a_commit(books: Books) -> None:
    till = books.till()
    assert till.reserve(books.account, 5000 * 50) is None
    with books.db.transaction():  # the meter must wait; meanwhile work piles up
        waiting = [till.charge(books.account, 1, books.price, reserved=5000, wait=False) for _ in range(50)]
        time.sleep(0.05)
    assert {one.wait().status for one in waiting} == {200}
    if books.db.dialect == "sqlite":
        assert till.meter.commits <= 4
    assert len(books.uses()) == 50


class Broken:
    """A database that fails when told to."""

    def __init__(self, db: Any) -> None:
        self.db, self.fault = db, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def many(self, sql: str, params: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.db.many(sql, params)


def fault(code: int) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError("as if")
    made.sqlite_errorcode = code
    return made


@pytest.fixture
def broken(shop: Shop) -> Iterator[tuple[Books, Till, Broken]]:
    books = Books(shop, "10", "5.00/1000")
    db = Broken(books.db.again())
    books.tills.append(Till(db))  # type: ignore[arg-type]
    yield books, books.tills[0], db
    books.close()


def test_a_full_disk_answers_nobody_and_heals_by_itself(broken: tuple[Books, Till, Broken]) -> None:
    books, till, db = broken
    assert till.sell(books.account, 1, books.price).status == 200
    db.fault = fault(13)
    refused = till.sell(books.account, 1, books.price)
    assert (refused.code, refused.status, till.meter.state) == ("meter-waiting", 503, "waiting")
    with pytest.raises(MofangError, match="at the moment"):
        till.charge(books.account, 1, books.price, reserved=0)
    db.fault = None
    time.sleep(0.6)
    assert till.sell(books.account, 1, books.price).status == 200 and till.meter.state == "running"
    assert len(books.uses()) == 2 and till.meter.purses.by_account[books.account].reserved == 0


def test_a_failed_write_stops_the_writer(broken: tuple[Books, Till, Broken]) -> None:
    """After a failed fsync nobody knows what is on the disk: only a restart, which reads it anew, may go on."""
    books, till, db = broken
    assert till.sell(books.account, 1, books.price, retry_key="a", digest="x").status == 200
    db.fault = fault(10 | 4 << 8)  # SQLITE_IOERR_FSYNC
    assert till.sell(books.account, 1, books.price).code == "meter-stopped"
    db.fault = None
    with pytest.raises(MofangError, match="stopped answering"):
        till.sell(books.account, 1, books.price)
    assert books.till().sell(books.account, 1, books.price, retry_key="a", digest="x").replayed


def test_closing_commits_what_waits_and_then_refuses(books: Books) -> None:
    till = books.till()
    assert till.reserve(books.account, 5000 * 20) is None
    waiting = [till.charge(books.account, 1, books.price, reserved=5000, wait=False) for _ in range(20)]
    till.meter.close()
    assert {one.wait().status for one in waiting} == {200} and books.balance().held == 0
    with pytest.raises(MofangError, match="shutting down"):
        till.sell(books.account, 1, books.price)


def test_a_callback_that_fails_does_not_end_the_meter(books: Books) -> None:
    till = books.till()

    def fails(_outcome: Any) -> None:
        raise ZeroDivisionError

    till.meter.submit(Draw(books.account, 5000, fails))
    till.meter.submit(Find(books.account, "a", Waiting().done))
    assert till.sell(books.account, 1, books.price).status == 200
    till.meter.release(books.account, 5000)


def test_purses_refuse_to_give_back_more_than_was_reserved() -> None:
    with pytest.raises(AssertionError):
        Purses().release("nobody", 1)


def test_usage_rows_hold_no_content(books: Books) -> None:
    books.till().sell(books.account, 1, books.price)
    assert find_customer(books.db, "Ming").name not in json.dumps([row.body for row in books.uses()])


@pytest.mark.cluster
@pytest.mark.parametrize("setting", ["synchronous_commit=off", "full_page_writes=off", "fsync=off"])
def test_a_database_that_may_forget_is_refused(postgres_url: str, tmp_path: Path, setting: str) -> None:
    """What can be set for a session is set; the others are as if the server had been started so."""
    shop = Shop.open(tmp_path / "shop", database=postgres_url)
    db = shop.control.again()
    name, value = setting.split("=")
    if name == "synchronous_commit":
        db.run(f"set {name}={value}")
    else:
        asked = db.rows
        db.rows = lambda sql, params=(): [(value,)] if sql == f"show {name}" else asked(sql, params)  # type: ignore[method-assign]
    with pytest.raises(MofangError) as caught:
        Meter(db)
    assert (caught.value.code, caught.value.values["setting"], caught.value.status) == ("database-not-durable", name, 503)
