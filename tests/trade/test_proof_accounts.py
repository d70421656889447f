"""All of trade as one state machine: several customers at two tills, with the meter's own statements, and a book of our own beside.

Reservations, settlements in groups, releases, retries at either till, tills that die, budgets, payments that end, notes, price
changes, charges, subscriptions, agreements and bills come in any order. What the model knows, it knows from outcomes alone, as
callers do; after every step the shop's books must say the same, to the last micro.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mofang.core.action import Act
from mofang.core.clock import day_of
from mofang.core.errors import MofangError
from mofang.core.journal import Journals
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe
from mofang.trade.accounts.customers import credit_note, credit_notes, customer_limit, customer_new
from mofang.trade.accounts.limits import Budget, used_of
from mofang.trade.billing.balance import Balance, balance_of, return_expired
from mofang.trade.billing.issuing import invoice_document, invoice_issue, invoices_of, remake
from mofang.trade.billing.oneoff import charge, oneoffs
from mofang.trade.billing.paid import lapse, pay, payments
from mofang.trade.billing.proofs import line_rows
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.request.commit import Charge, Draw, Find, GiveBack, most_for
from mofang.trade.request.meter import Meter
from mofang.trade.request.replay import Stored
from tests.trade.bookkeeping import CLOCKED, DAY_US, OCTOBER, Clock

NAMES = ("Acme 艾可美", "Beta", "Gamma")
MONTHS = ("2026-10", "2026-11", "2026-12", "2027-01", "2027-02", "2027-03")
PRICES = ("0.0337/1000", "5.00/1000", "0.49", "0.333333/1000", "0")
EXPIRES_S = 3600.0
which = st.integers(0, 10**6)
account_names = st.sampled_from(NAMES)
keys = st.sampled_from(["", "x", "y", "z"])


@dataclass
class Asked:
    """A request that has reserved and is being answered."""

    till: int
    name: str
    price: Price
    units: int
    reserved: int
    budgets: tuple[Budget, ...]


@dataclass
class Book:
    """What a customer knows of itself, from outcomes alone."""

    units: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))  # price → units, rate
    requests: set[str] = field(default_factory=set)
    by_key: dict[str, tuple[str, str]] = field(default_factory=dict)  # Idempotency-Key → request, digest
    budget: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by month
    days: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # micros by day
    deep: bool = False  # something has been taken that no server asked for: a fee, tax, a lowered credit, money that ended


class Trade(RuleBasedStateMachine):
    counted: ClassVar[Counter[str]] = Counter()  # what all lives came to, for the long run in bench/faults.py

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.clock = Clock(OCTOBER + DAY_US)
        self.patches = [mock.patch(f"mofang.{module}.now_us", self.clock) for module in (*CLOCKED, "trade.request.meter")]
        self.patches += [mock.patch("mofang.trade.billing.issuing.behind_us", lambda *_: 0),
                         mock.patch("mofang.trade.billing.page.render", lambda *_: b"%PDF-"),
                         mock.patch("mofang.trade.billing.issuing.render", lambda *_: b"%PDF-")]
        for one in self.patches:
            one.start()
        self.shop = Shop.open(self.place / "shop")
        self.ids = {name: self.shop.act(customer_new, name=name, credit=credit).id
                    for name, credit in zip(NAMES, ("20", "0", "1000"), strict=True)}
        self.prices = {model: self.shop.act(price_set, model=model, price=text) for model, text in zip(("a", "b"), PRICES, strict=False)}
        self.books = {name: Book() for name in NAMES}
        self.numbers = itertools.count()
        self.asked: list[Asked] = []
        self.tills = [self.new_till() for _ in range(2)]

    def new_till(self) -> Meter:
        made = Meter(self.shop.control.again(), expires_s=EXPIRES_S)
        return_expired(made.journals, self.clock.at_us)
        return made

    def settle(self, meter: Meter, works: Sequence[Any]) -> None:
        """One group commit, on this very thread."""
        meter._tell(list(works), meter._settle(list(works)))
        assert meter.state == "running"

    def balance(self, name: str) -> Balance:
        return balance_of(self.shop.control, self.ids[name], self.clock.at_us)

    def refused(self, codes: set[str], call: Any) -> Any:
        try:
            return call()
        except MofangError as error:
            assert error.code in codes, error
            return None

    def budgets_of(self, name: str, budgeted: bool) -> tuple[Budget, ...]:
        return (Budget(f"{self.ids[name]}/key", 2_000_000, 1_000_000),) if budgeted else ()

    # Requests

    @rule(till=st.integers(0, 1), name=account_names, model=st.sampled_from("ab"), units=st.integers(0, 400), budgeted=st.booleans())
    def reserve(self, till: int, name: str, model: str, units: int, budgeted: bool) -> None:
        meter, price, budgets = self.tills[till], self.prices[model], self.budgets_of(name, budgeted)
        most, said = most_for(units, price), []
        if most and not meter.reserve(self.ids[name], most, budgets):
            self.settle(meter, [Draw(self.ids[name], most, said.append, budgets)])
            if said[0] is None and not self.books[name].deep:
                assert self.balance(name).available >= 0, "set aside beyond what there is"
        if not said or said[0] is None:
            self.asked.append(Asked(till, name, price, units, most, budgets))
        else:
            assert said[0].code in ("credit-used-up", "budget-used-up"), said
            free = self.balance(name).available
            assert free < most or budgets, f"{free} are free, {most} were asked for and refused"

    def charge_of(self, one: Asked, units: int, key: str, digest: str, said: list[Any]) -> Charge:
        request = f"req_{next(self.numbers):06d}"
        return Charge(request, self.ids[one.name], "k1", f"{one.price.model}@1", "run_0000000000000000000000pack", units, one.price, False,
                      one.reserved, b"answer " + request.encode(), said.append, key, digest, budgets=one.budgets)

    @rule(till=st.integers(0, 1), name=account_names, model=st.sampled_from("ab"), budgeted=st.booleans(),
          wanted=st.lists(st.tuples(st.integers(0, 60), keys, st.sampled_from("dd2")), min_size=1, max_size=5))
    def sell(self, till: int, name: str, model: str, budgeted: bool, wanted: list[tuple[int, str, str]]) -> None:
        """Several at once: each reserves, then all are answered in one group, each Idempotency-Key once in it."""
        before = len(self.asked)
        wanted = [(units, key if key not in [one[1] for one in wanted[:at]] else "", digest) for at, (units, key, digest) in enumerate(wanted)]
        held = []
        for units, key, digest in wanted:
            self.reserve(till, name, model, units, budgeted)
            if len(self.asked) > before:
                held.append((self.asked.pop(), key, digest))
        self.commit(till, [(one, one.units, key, digest) for one, key, digest in held])

    @precondition(lambda self: self.asked)
    @rule(many=st.integers(1, 4), pick=which, share=st.integers(0, 100), key=keys, digest=st.sampled_from("dd2"))
    def answer(self, many: int, pick: int, share: int, key: str, digest: str) -> None:
        """Several of one till that have waited, some of fewer units than were held; one of them under an Idempotency-Key."""
        till = self.asked[pick % len(self.asked)].till
        mine = [one for one in self.asked if one.till == till][:many]
        self.asked = [one for one in self.asked if one not in mine]
        self.commit(till, [(one, one.units * share // 100, key if at == 0 else "", digest) for at, one in enumerate(mine)])

    def commit(self, till: int, group: list[tuple[Asked, int, str, str]]) -> None:
        """One group commit of answers, and what their callers learn."""
        said: list[list[Any]] = [[] for _ in group]
        works = [self.charge_of(*each, heard) for each, heard in zip(group, said, strict=True)]
        if works:
            self.settle(self.tills[till], works)
        for (one, units, key, digest), work, (outcome,) in zip(group, works, said, strict=True):
            self.note(one, units, key, digest, work, outcome)

    def note(self, one: Asked, units: int, key: str, digest: str, work: Charge, outcome: Any) -> None:
        """What the caller learns."""
        book = self.books[one.name]
        known = book.by_key.get(key)
        self.counted[getattr(outcome, "code", "answered") if not getattr(outcome, "replayed", False) else "replayed"] += 1
        if isinstance(outcome, MofangError):
            reused = known is not None and known[1] != digest
            assert outcome.code == "retry-key-reused" if reused else outcome.code in ("credit-used-up", "budget-used-up"), outcome
            return
        assert isinstance(outcome, Stored)
        if known is not None:
            assert outcome.replayed and (outcome.request_id, outcome.digest) == known, "a repeat is the first answer"
            return
        assert outcome.request_id == work.request_id and outcome.body == work.answer and not outcome.replayed
        count = book.units[one.price.model, one.price.version]
        before = count[0] * one.price.rate // 10**6
        count[0] += units
        count[1] = one.price.rate
        micros = count[0] * one.price.rate // 10**6 - before
        book.requests.add(work.request_id)
        book.days[day_of(self.clock.at_us)] += micros
        if one.budgets:
            book.budget[day_of(self.clock.at_us)[:7]] += micros
        if key:
            book.by_key[key] = (work.request_id, digest)

    @precondition(lambda self: self.asked)
    @rule(pick=which)
    def give_up(self, pick: int) -> None:
        one = self.asked.pop(pick % len(self.asked))
        self.tills[one.till].release(self.ids[one.name], one.reserved, one.budgets)

    @rule(till=st.integers(0, 1), name=account_names, model=st.sampled_from("ab"), units=st.integers(1, 60), key=st.sampled_from("xyz"))
    def sell_under_a_key(self, till: int, name: str, model: str, units: int, key: str) -> None:
        self.sell(till, name, model, False, [(units, key, "d")])

    @rule(till=st.integers(0, 1), name=account_names, key=st.sampled_from("xyz"))
    def look_for(self, till: int, name: str, key: str) -> None:
        said: list[Any] = []
        self.settle(self.tills[till], [Find(self.ids[name], key, said.append)])
        known = self.books[name].by_key.get(key)
        assert (said[0] and (said[0].request_id, said[0].digest)) == known

    @rule(till=st.integers(0, 1), politely=st.booleans())
    def end_till(self, till: int, politely: bool) -> None:
        """It ends, or is killed; another takes its place. What it was answering is gone."""
        self.asked = [one for one in self.asked if one.till != till]
        meter = self.tills[till]
        if politely:
            with meter.purses.lock:
                for purse in meter.purses.by_account.values():
                    purse.reserved = 0
            self.settle(meter, [GiveBack(account, lambda _: None) for account in list(meter.purses.by_account)])
        meter.close()
        self.tills[till] = self.new_till()

    @rule(till=st.integers(0, 1))
    def sweep(self, till: int) -> None:
        self.tills[till]._sweep()

    @rule(seconds=st.sampled_from([1, 1800, 4000, 86_400, 9 * 86_400]))
    def time_goes_on(self, seconds: int) -> None:
        if self.clock.at_us + seconds * 10**6 < OCTOBER + 150 * DAY_US:
            self.clock.at_us += seconds * 10**6
        if seconds >= 86_400:  # stored answers are kept for a day
            for book in self.books.values():
                book.by_key.clear()
            self.shop.control.run("delete from replay")

    # Money

    @rule(name=account_names, micros=st.integers(1, 9_000_000), reference=st.sampled_from("abcd"), days=st.sampled_from([0, 0, 5, 40]))
    def pay_in(self, name: str, micros: int, reference: str, days: int) -> None:
        until = day_of(self.clock.at_us + days * DAY_US) if days else ""
        amount = f"{micros // 10**6}.{micros % 10**6:06d}"
        before = self.balance(name).left
        made = self.refused({"top-up-differs"}, lambda: self.shop.act(pay, customer=name, amount=amount, reference=reference, until=until))
        assert self.balance(name).left == before + (micros if made and not made.repeated else 0)

    @rule(name=account_names)
    def money_ends(self, name: str) -> None:
        before = self.balance(name)
        lapse(self.shop)
        after = self.balance(name)
        assert after.left <= before.left and (after.left == before.left or after.left >= min(0, before.left - before.held))

    @rule(name=account_names, cents=st.integers(1, 300), why=st.sampled_from(["one", "two"]))
    def note_back(self, name: str, cents: int, why: str) -> None:
        codes = {"credit-note-too-large", "credit-note-differs"}
        self.refused(codes, lambda: self.shop.act(credit_note, customer=name, amount=f"{cents / 100:.2f}", reason=why))

    @rule(model=st.sampled_from("ab"), text=st.sampled_from(PRICES))
    def new_price(self, model: str, text: str) -> None:
        self.prices[model] = self.shop.act(price_set, model=model, price=text)

    @rule(name=account_names, cents=st.integers(1, 500), reference=st.sampled_from("xy"))
    def charge_once(self, name: str, cents: int, reference: str) -> None:
        self.books[name].deep = True
        self.refused({"charge-differs"}, lambda: charge(Act(self.shop, self.shop.actor), name, "lease", "a lease", cents * 10_000, "CNY",
                                                        f"run_{reference}"))

    @rule(name=account_names, included=st.integers(0, 40), monthly=st.sampled_from(["29", "0.01"]))
    def subscribe(self, name: str, included: int, monthly: str) -> None:
        self.refused({"subscription-exists"}, lambda: self.shop.act(customer_subscribe, customer=name, model="a", monthly=monthly,
                                                                    included=included))

    @rule(name=account_names, discount=st.sampled_from(["0", "33.3333%"]), tax=st.sampled_from(["0", "6%", "8.875%"]))
    def agree(self, name: str, discount: str, tax: str) -> None:
        self.shop.act(customer_agree, customer=name, discount=discount, tax=tax)

    @rule(name=account_names, credit=st.sampled_from(["0", "1", "5.5"]))
    def limit(self, name: str, credit: str) -> None:
        self.books[name].deep = True
        self.shop.act(customer_limit, customer=name, credit=credit)

    @rule(name=account_names, month=st.sampled_from(MONTHS))
    def bill(self, name: str, month: str) -> None:
        self.books[name].deep = True  # tax, fees and rounding are taken at the bill
        self.refused({"usage-none"}, lambda: self.shop.act(invoice_issue, customer=name, period=month, early=True))

    # What must hold

    @invariant()
    def the_books_are_what_callers_know(self) -> None:
        self.counted["compared"] += 1
        db, used = self.shop.control, defaultdict[str, dict[str, int]](dict)
        for row in self.shop.journals.rows("usage"):
            if row.kind == "use":
                assert row.id not in used[row.account], "twice"
                used[row.account][row.id] = row.body["micros"]
        for name, book in self.books.items():
            found, account = self.balance(name), self.ids[name]
            exact = sum(units * rate // 10**6 for units, rate in book.units.values())
            assert set(used[account]) == book.requests, "what was told is what was charged"
            assert found.debited == exact == sum(used[account].values()), (name, found.debited, exact)
            assert dict(db.rows("select day, sum(micros) from usage_day where account=? group by day having sum(micros)>0", (account,))) == {
                day: micros for day, micros in book.days.items() if micros}
            for month in MONTHS:
                assert used_of(db, f"{account}/key", month) == book.budget[month] <= 2_000_000
            held = db.rows("select coalesce(sum(micros), 0) from allotment where account=?", (account,))[0][0]
            assert found.held == held >= 0
            bills = [invoice_document(self.shop, one.number) for one in invoices_of(db, account)]
            paid = sum(one.micros - one.lapsed_micros for one in payments(db, account))
            notes = sum(one.micros for one in credit_notes(db, account))
            lines = [line for bill in bills for line in bill["lines"]]
            billed, metered = sum(line["amount_micros"] for line in lines), sum(bill["metered_micros"] for bill in bills)
            charges = [line["amount_micros"] for line in lines if "charge" in line]
            made = sum(one.micros for one in oneoffs(db, account))
            assert found.left == paid + notes - billed - (found.debited - metered) - (made - sum(charges)), name
            for bill in bills:
                assert bill["total_micros"] == sum(line["amount_micros"] for line in (*bill["lines"], *bill.get("credits", ()))) >= 0

    @invariant()
    def memory_is_what_the_books_say(self) -> None:
        """What a till may still hand out is never more than what it has set aside."""
        for at, meter in enumerate(self.tills):
            mine = dict(self.shop.control.rows("select account, micros from allotment where worker=?", (meter.worker,)))
            for account, purse in meter.purses.by_account.items():
                held = sum(one.reserved for one in self.asked if one.till == at and (
                    account == self.ids[one.name] or any(budget.scope == account for budget in one.budgets)))
                assert purse.reserved == held, (account, purse, held)
                if account in mine and mine[account] != purse.left:
                    assert purse.left >= mine[account], "given back by another while this one slept; it looks again before it charges"

    def teardown(self) -> None:
        try:
            for meter in self.tills:
                meter.close()
            bills = invoices_of(self.shop.control)
            rows = [row.id for one in bills for line in invoice_document(self.shop, one.number)["lines"]
                    for row in line_rows(self.shop, one.number, line["line"])]
            assert len(rows) == len(set(rows)), "a row on two lines"
            assert all(remake(self.shop, one.number)["invoice.json"] for one in bills)
            return_expired(self.shop.journals, self.clock.at_us + 10**12)
            assert self.shop.control.rows("select coalesce(sum(micros), 0) from allotment")[0][0] == 0
            assert Journals(self.shop.control).verify() == []
        finally:
            for one in self.patches:
                one.stop()
            self.shop.control.close()
            shutil.rmtree(self.place, ignore_errors=True)


TestTrade = Trade.TestCase
TestTrade.settings = settings(max_examples=8, stateful_step_count=40, deadline=None)
