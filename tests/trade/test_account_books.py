"""Accounts as a state machine: use, payments that end, price changes, agreements, charges, bills, credits, in any order.

After every step the balance is what was paid, less what lapsed, less what was billed, less what was used or charged and is on no
bill yet; what was charged once cannot be spent on calls, before the bill or after it;
no row and no charge is on two bills; every bill is the sum of its lines.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mofang.core.action import Act
from mofang.core.clock import day_of
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe, customer_unsubscribe
from mofang.trade.accounts.customers import credit_notes
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.credits import credit_line
from mofang.trade.billing.issuing import invoice_document, invoices_of, remake
from mofang.trade.billing.oneoff import Kind, charge, oneoffs
from mofang.trade.billing.paid import lapse, pay, payments
from mofang.trade.billing.proofs import line_rows
from tests.trade.bookkeeping import CLOCKED, DAY_US, NAME, OCTOBER, Clock, Desk

MONTHS = ("2026-10", "2026-11", "2026-12", "2027-01", "2027-02", "2027-03")
PLANS: tuple[dict[str, Any], ...] = (
    {"price": "0.0337"}, {"tiers": "0-5:1, 5-20:0.5, 20-:0.25"}, {"volume": "0-10:1, 10-:0.3"}, {"package": "7:2"},
    {"price": "0.5", "included": 3}, {"price": "1", "minimum": "30"})


class Accounts(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.clock = Clock(OCTOBER + DAY_US)
        self.patches = [mock.patch(f"mofang.{module}.now_us", self.clock) for module in CLOCKED]
        self.patches += [mock.patch("mofang.trade.billing.issuing.behind_us", lambda *_: 0),
                         mock.patch("mofang.trade.billing.page.render", lambda *_: b"%PDF-"),
                         mock.patch("mofang.trade.billing.issuing.render", lambda *_: b"%PDF-")]
        for one in self.patches:
            one.start()
        self.desk = Desk(Shop.open(self.place / "shop"), self.clock)
        self.shop = self.desk.shop
        self.numbers = itertools.count()

    def refused(self, codes: set[str], call: Any) -> Any:
        try:
            return call()
        except MofangError as error:
            assert error.code in codes, error
            return None

    @rule(units=st.lists(st.integers(0, 30), min_size=1, max_size=4), model=st.sampled_from(["reviews@1", "reviews@2", "digits@1"]))
    def use(self, units: list[int], model: str) -> None:
        self.desk.use(*units, model=model)

    @rule(days=st.integers(1, 20))
    def time_goes_on(self, days: int) -> None:
        if self.clock.at_us + days * DAY_US < OCTOBER + 150 * DAY_US:
            self.clock.at_us += days * DAY_US
        lapse(self.shop)

    @rule(micros=st.integers(1, 90_000_000), reference=st.sampled_from("abcd"), days=st.sampled_from([0, 0, 5, 40]))
    def pay_in(self, micros: int, reference: str, days: int) -> None:
        until = day_of(self.clock.at_us + days * DAY_US) if days else ""
        amount = f"{micros // 10**6}.{micros % 10**6:06d}"
        self.refused({"top-up-differs"}, lambda: self.shop.act(pay, customer=NAME, amount=amount, reference=reference, until=until))

    @rule(plan=st.sampled_from(PLANS), model=st.sampled_from(["reviews", "digits"]))
    def new_price(self, plan: dict[str, Any], model: str) -> None:
        from mofang.trade.pricing.prices import price_set

        self.desk.prices[model] = self.shop.act(price_set, model=model, **plan)
        self.desk.carried = 0

    @rule(discount=st.sampled_from(["0", "10%", "33.3333%"]), tax=st.sampled_from(["0", "6%", "8.875%"]), minimum=st.sampled_from(["0", "25"]))
    def agree(self, discount: str, tax: str, minimum: str) -> None:
        self.shop.act(customer_agree, customer=NAME, discount=discount, tax=tax, minimum=minimum)

    @rule(model=st.sampled_from(["reviews", "digits"]), included=st.integers(0, 40), monthly=st.sampled_from(["29", "0.01"]))
    def subscribe(self, model: str, included: int, monthly: str) -> None:
        self.refused({"subscription-exists", "subscription-until"}, lambda: self.shop.act(customer_subscribe, customer=NAME, model=model, monthly=monthly,
                                                                    included=included))

    @rule(model=st.sampled_from(["reviews", "digits"]))
    def unsubscribe(self, model: str) -> None:
        self.refused({"subscription-none", "subscription-days"}, lambda: self.shop.act(customer_unsubscribe, customer=NAME, model=model))

    @rule(cents=st.integers(1, 10_000), reference=st.sampled_from("xyz"), kind=st.sampled_from(get_args(Kind)))
    def charge_once(self, cents: int, reference: str, kind: Kind) -> None:
        before = balance_of(self.shop.control, self.desk.account, self.clock.at_us)
        made = self.refused({"charge-differs"}, lambda: charge(Act(self.shop, self.shop.actor), NAME, kind, f"a {kind}", cents * 10_000,
                                                               "CNY", f"run_{reference}"))
        after = balance_of(self.shop.control, self.desk.account, self.clock.at_us)
        taken = cents * 10_000 if made is not None and not made.repeated else 0
        assert after.left == before.left - taken and after.available == before.available - taken, "not to be spent on calls"

    @rule(month=st.sampled_from(MONTHS))
    def bill(self, month: str) -> None:
        self.refused({"usage-none"}, lambda: self.desk.bill(month, early=True))

    @rule(which=st.integers(0, 5), line=st.integers(1, 4), units=st.integers(1, 60), why=st.sampled_from(["one", "two"]))
    def give_back(self, which: int, line: int, units: int, why: str) -> None:
        bills = invoices_of(self.shop.control)
        if bills:
            codes = {"credit-beyond-line", "credit-one-of", "invoice-line-unknown", "credit-note-amount", "credit-note-differs"}
            number = bills[which % len(bills)].number
            self.refused(codes, lambda: self.shop.act(credit_line, invoice=number, line=line, units=units, why=why * 3))

    @invariant()
    def the_books_balance(self) -> None:
        db = self.shop.control
        bills = [invoice_document(self.shop, one.number) for one in invoices_of(db)]
        notes = {one.id: one.micros for one in credit_notes(db)}
        taken: dict[str, int] = {}
        billed = metered = charged = 0
        charges: list[str] = []
        for bill in bills:
            lines = sum(line["amount_micros"] for line in bill["lines"])
            credits = sum(one["amount_micros"] for one in bill.get("credits", ()))
            assert bill["total_micros"] == lines + credits >= 0 and lines % 10_000 == 0
            assert bill["exact_micros"] + bill["rounding_micros"] == lines
            for one in bill.get("credits", ()):
                taken[one["note"]] = taken.get(one["note"], 0) - one["amount_micros"]
            billed += lines
            metered += bill["metered_micros"]
            charges += [line["charge"] for line in bill["lines"] if "charge" in line]
            charged += sum(line["amount_micros"] for line in bill["lines"] if "charge" in line)
        assert all(micros <= notes[id] for id, micros in taken.items()) and len(charges) == len(set(charges))
        found = balance_of(db, self.desk.account, self.clock.at_us)
        paid = sum(one.micros - one.lapsed_micros for one in payments(db))
        assert found.left == paid + sum(notes.values()) - billed - (found.debited - metered) - (found.charged - charged)
        assert found.debited >= metered, "a row on two bills"
        made = oneoffs(db, self.desk.account)
        month = day_of(self.clock.at_us)[:7]
        assert found.charged == sum(one.micros for one in made) >= charged, "a charge on two bills"
        assert found.charged_month == sum(one.micros for one in made if day_of(one.at_us)[:7] == month)

    def teardown(self) -> None:
        try:
            rows = [row.id for one in invoices_of(self.shop.control) for line in invoice_document(self.shop, one.number)["lines"]
                    for row in line_rows(self.shop, one.number, line["line"])]
            assert len(rows) == len(set(rows))
            assert all(remake(self.shop, one.number)["invoice.json"] for one in invoices_of(self.shop.control))
            assert self.shop.journals.verify() == []
        finally:
            for one in self.patches:
                one.stop()
            self.shop.control.close()
            shutil.rmtree(self.place, ignore_errors=True)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
