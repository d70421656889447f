"""The meter as a state machine: whatever happens in whatever order, the books balance after every step.

Servers start, are killed and sleep; customers retry, repeat keys with other bodies, run out of money and pay; rows of
killed servers are returned early or late. Nothing is charged twice, nothing recorded is lost, and the tables equal
their journals.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from mofang.core.action import Act
from mofang.core.database import SQLite
from mofang.core.errors import MofangError
from mofang.core.identity import Actor, now_us
from mofang.core.journal import Journals
from mofang.trade.accounts.customers import customer_new, customer_top_up
from mofang.trade.billing.balance import balance_of, return_expired
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.request.commit import most_for
from mofang.trade.request.replay import Stored
from tests.trade.at_meter import Till

CREDIT = 3_000  # micros
FAR_US = 10**12


class Counter:
    """As much of a shop as actions need, in memory."""

    currency = "CNY"

    def __init__(self) -> None:
        self.control = SQLite(":memory:")
        self.journals = Journals(self.control)
        self.path = Path()

    def act(self, function: Any, **given: Any) -> Any:
        return function(Act(self, Actor("tester")), **given)  # type: ignore[arg-type]


class Shared:
    """One connection for many meters: what they close stays open."""

    def __init__(self, db: SQLite) -> None:
        self.db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def close(self) -> None:
        pass


class Books(RuleBasedStateMachine):
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.shop = Counter()
        self.db = self.shop.control
        self.account = self.shop.act(customer_new, name="Ming", credit=f"0.{CREDIT:06d}").id
        self.prices: list[Price] = [self.shop.act(price_set, model="reviews", price="0.0000337")]
        self.tills = [self.new_till()]
        self.dead: list[Till] = []
        self.topped_up = 0
        self.reserved: dict[int, int] = defaultdict(int)  # micros that open requests hold, by till
        self.payments: dict[str, int] = {}
        self.units: dict[str, tuple[int, int]] = {}  # request id → units, rate
        self.answers: dict[str, Stored] = {}  # retry key → first answer
        self.digests: dict[str, str] = {}

    def new_till(self) -> Till:
        return Till(Shared(self.db))  # type: ignore[arg-type]

    def till(self, number: int) -> Till:
        return self.tills[number % len(self.tills)]

    def told(self, outcome: Any, units: int, price: Price, retry_key: str, digest: str) -> None:
        """Compare what a caller was told with what the model expects."""
        first = self.answers.get(retry_key) if retry_key else None
        if first is not None:
            if self.digests[retry_key] == digest:
                assert outcome.replayed and outcome.body == first.body
            else:
                assert outcome.code == "retry-key-reused"
        elif isinstance(outcome, MofangError):
            assert outcome.code == "credit-used-up"
        else:
            assert not outcome.replayed and outcome.request_id not in self.units
            self.units[outcome.request_id] = (units, price.rate)
            if retry_key:
                self.answers[retry_key], self.digests[retry_key] = outcome, digest

    @rule(number=st.integers(0, 3), units=st.integers(0, 40), retry_key=st.sampled_from(["", "a", "b"]),
          digest=st.sampled_from("xy"))
    def sell(self, number: int, units: int, retry_key: str, digest: str) -> None:
        price = self.prices[-1]
        till = self.till(number)
        room = self.room(till)
        outcome = till.sell(self.account, units, price, retry_key=retry_key, digest=digest)
        if isinstance(outcome, MofangError) and outcome.code == "credit-used-up":
            assert most_for(units, price) > room, "refused although there was money"
        self.told(outcome, units, price, retry_key, digest)

    def room(self, till: Till) -> int:
        """What this server can still promise: its own free allotment and what is free for all."""
        purse = till.meter.purses.by_account[self.account]
        own = self.db.rows("select coalesce(sum(micros), 0) from allotment where worker=?", (till.meter.worker,))[0][0]
        return int(own) - purse.reserved + balance_of(self.db, self.account, now_us()).available

    @rule(target=reservations, number=st.integers(0, 3), units=st.integers(0, 40))
    def reserve(self, number: int, units: int) -> Any:
        price, till = self.prices[-1], self.till(number)
        refusal = till.reserve(self.account, most_for(units, price))
        if refusal:
            return multiple()
        self.reserved[id(till)] += most_for(units, price)
        return till, units, price

    @rule(held=consumes(reservations), retry_key=st.sampled_from(["", "a"]), digest=st.sampled_from("xy"))
    def charge(self, held: Any, retry_key: str, digest: str) -> None:
        till, units, price = held
        if till in self.tills:
            self.reserved[id(till)] -= most_for(units, price)
            self.told(till.charge(self.account, units, price, retry_key=retry_key, digest=digest), units, price,
                      retry_key, digest)

    @rule(held=consumes(reservations))
    def give_up(self, held: Any) -> None:
        till, units, price = held
        till.meter.release(self.account, most_for(units, price))
        self.reserved[id(till)] -= most_for(units, price)

    @rule(reference=st.sampled_from("pqr"), micros=st.integers(1, 2000))
    def top_up(self, reference: str, micros: int) -> None:
        try:
            paid = self.shop.act(customer_top_up, customer="Ming", amount=f"0.{micros:06d}", reference=reference)
        except MofangError as refusal:
            assert refusal.code == "top-up-differs" and self.payments[reference] != micros
            return
        assert paid.repeated == (reference in self.payments)
        if not paid.repeated:
            self.payments[reference] = micros
            self.topped_up += micros

    @rule(rate=st.integers(0, 60))
    def new_price(self, rate: int) -> None:
        self.prices.append(self.shop.act(price_set, model="reviews", price=f"0.0000{rate:02d}"))

    @rule()
    def start_a_server(self) -> None:
        if len(self.tills) < 3:
            self.tills.append(self.new_till())

    @rule(number=st.integers(0, 3))
    def kill_a_server(self, number: int) -> None:
        self.dead.append(self.tills.pop(number % len(self.tills)))
        if not self.tills:
            self.tills.append(self.new_till())

    @rule(number=st.integers(0, 3))
    def stop_a_server(self, number: int) -> None:
        self.kill_a_server(number)
        self.dead[-1].meter.close()

    @rule(late=st.booleans())
    def reconcile(self, late: bool) -> None:
        return_expired(self.shop.journals, now_us() + (FAR_US if late else 0))

    @invariant()
    def only_open_requests_hold_money(self) -> None:
        for till in self.tills:
            assert till.meter.purses.by_account[self.account].reserved == self.reserved[id(till)]

    @invariant()
    def the_books_balance(self) -> None:
        found = balance_of(self.db, self.account, now_us())
        assert found.topped_up == self.topped_up
        assert found.debited + found.held <= CREDIT + self.topped_up, "more was promised than there is"
        rows = [row for row in self.shop.journals.rows("usage") if row.kind == "use"]
        assert {row.id: (row.body["units"], row.body["rate"]) for row in rows} == self.units
        assert len(rows) == len(self.units) and sum(row.body["micros"] for row in rows) == found.debited
        exact = sum(Fraction(units * rate, 10**6) for units, rate in self.units.values())
        assert 0 <= exact - found.debited < len(self.prices)

    def teardown(self) -> None:
        for till in self.tills + self.dead:
            till.meter.close()
        return_expired(self.shop.journals, now_us() + FAR_US)
        assert balance_of(self.db, self.account, now_us()).held == 0
        assert self.shop.journals.verify() == []
        self.db.close()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
