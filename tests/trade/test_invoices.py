"""Invoices: a pure function of sealed usage; each row on one bill, each bill once, each figure checkable."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mofang.trade.billing.balance  # noqa: F401 - the tables that the meter folds from the same rows
from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.money import charge
from mofang.core.shop import Shop
from mofang.core.trace import details, walk
from mofang.trade.accounts.customers import credit_note, customer_new
from mofang.trade.billing import invoices
from mofang.trade.billing import issuing as billing
from mofang.trade.billing import page as invoice_page
from mofang.trade.billing.invoices import Bill, UsageRow, bill_of, bounds, period_at
from mofang.trade.billing.issuing import (
    Claim,
    find_invoice,
    invoice_document,
    invoice_issue,
    invoice_preview,
    invoices_of,
    remake,
)
from mofang.trade.billing.proofs import check_proof, line_rows, prove_row, trace_line
from mofang.trade.pricing.prices import price_set

OCTOBER, NOVEMBER, DECEMBER = (bounds(month, "+08:00")[0] for month in ("2026-10", "2026-11", "2026-12"))
DAY_US = 86_400_000_000
PACKAGE = "run_0000000000000000000000pack"


class Clock:
    """The time that journals write, set by hand."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def __call__(self) -> int:
        self.at_us += 1
        return self.at_us


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(OCTOBER + DAY_US)
    for module in ("mofang.core.journal", "mofang.trade.billing.issuing", "mofang.trade.pricing.prices"):
        monkeypatch.setattr(f"{module}.now_us", clock)
    monkeypatch.setattr("mofang.trade.billing.issuing.behind_us", lambda *_: 0)  # the ledger's own clock is not turned
    return clock


class Desk:
    """A shop with one customer, one priced model, and a way to use it."""

    def __init__(self, shop: Shop, clock: Clock) -> None:
        self.shop = shop
        shop.journals.make_tables()
        self.clock = clock
        self.account = self.shop.act(customer_new, name="Acme 艾可美").id
        self.prices = {
            model: self.shop.act(price_set, model=model, price=text)
            for model, text in (("reviews", "5.00/1000"), ("digits", "0.333/1000"))
        }
        self.numbers = itertools.count()
        self.carried = 0

    def use(
        self,
        *units: int,
        model: str = "reviews@1",
        test: bool = False,
        account: str = "",
        at_us: int = 0,
        **changes: Any,
    ) -> None:
        """Answered requests, as the meter writes them."""
        if at_us:
            self.clock.at_us = at_us
        price = self.prices[model.partition("@")[0]]
        rows = []
        for count in units:
            micros, self.carried = charge(count, price.rate, self.carried)
            id = f"req_{next(self.numbers):06d}"
            body = {
                "request_id": id,
                "key": "k1",
                "model": model,
                "package": PACKAGE,
                "units": count,
                "test": test,
                "price": None if test else price.version,
                "rate": 0 if test else price.rate,
                "micros": 0 if test else micros,
                **changes,
            }
            rows.append(NewRow("use", body, id=id, account=account or self.account))
        with self.shop.control.transaction():
            self.shop.journals.append("usage", rows)

    def bill(self, period: str, **settings: Any) -> Claim:
        """Issue the invoice."""
        found: Claim = self.shop.act(invoice_issue, customer="Acme 艾可美", period=period, **settings)
        return found


@pytest.fixture
def desk(shop: Shop, clock: Clock) -> Desk:
    return Desk(shop, clock)


def refused(code: str, call: Callable[[], object]) -> MofangError:
    with pytest.raises(MofangError) as caught:
        call()
    assert caught.value.code == code, caught.value
    for language in ("en", "zh"):
        assert all(caught.value.worded(language))  # type: ignore[arg-type]
    return caught.value


def test_a_month_becomes_one_numbered_invoice(desk: Desk) -> None:
    desk.use(1, 1, 1, at_us=NOVEMBER)
    desk.use(7, model="digits@2")
    desk.clock.at_us = DECEMBER + 1
    claim = desk.bill("2026-11")
    document = invoice_document(desk.shop, claim.number)
    assert claim.number == document["number"] == "INV-2026-11-0001"
    assert [(line["model"], line["units"], line["requests"]) for line in document["lines"]] == [
        ("digits@2", 7, 1),
        ("reviews@1", 3, 3),
    ]
    reviews = document["lines"][1]
    assert (reviews["exact_micros"], reviews["amount_micros"]) == (15_000, 20_000)  # ¥0.015 → the even ¥0.02
    assert (
        document["total_micros"]
        == document["exact_micros"] + document["rounding_micros"]
        == claim.total_micros
    )
    stored = desk.shop.artifact(desk.shop.ledger.get(claim.entry))
    assert stored.path("invoice.pdf").read_bytes().startswith(b"%PDF-")
    assert desk.shop.verify() == []


def test_made_again_it_has_the_same_bytes(desk: Desk) -> None:
    desk.use(*range(1, 40), at_us=NOVEMBER)
    claim = desk.bill("2026-11", early=True)
    desk.use(5)  # what comes later changes nothing
    desk.shop.act(price_set, model="reviews", price="9.00/1000")
    assert remake(desk.shop, claim.number) == {"invoice.json": True, "invoice.pdf": True}
    assert desk.bill("2026-11", language="en") == claim


def test_a_killed_run_makes_the_same_invoice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use(3, at_us=NOVEMBER)

    def power_cut(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mofang.trade.billing.page.render", power_cut)
        with pytest.raises(KeyboardInterrupt):
            desk.bill("2026-11", early=True)
    cut = find_invoice(desk.shop.control, "INV-2026-11-0001")
    assert not cut.entry
    refused("invoice-unfinished", lambda: invoice_document(desk.shop, cut.number))
    desk.use(1000)
    claim = desk.bill("2026-11", early=True)
    assert (claim.number, claim.fixed) == (cut.number, cut.fixed)
    assert invoice_document(desk.shop, claim.number)["lines"][0]["units"] == 3


def test_eight_threads_make_one_invoice(any_shop: Shop, clock: Clock) -> None:
    desk = Desk(any_shop, clock)
    desk.use(1, 2, 3, at_us=NOVEMBER)
    desk.clock.at_us = DECEMBER + 1
    found: list[Claim] = []
    failed: list[BaseException] = []
    barrier = threading.Barrier(8)

    def one() -> None:
        try:
            shop = desk.shop.again()
            barrier.wait(30)
            found.append(shop.act(invoice_issue, customer="Acme 艾可美", period="2026-11"))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    assert len(found) == 8 and len({claim.entry for claim in found}) == 1
    assert len(invoices_of(desk.shop.control)) == 1
    kinds = [row.kind for row in desk.shop.journals.rows("invoices")]
    assert sorted(kinds) == ["claimed", "issued"]
    assert desk.shop.verify() == []


def test_late_rows_go_to_the_next_bill_and_no_row_to_two(desk: Desk) -> None:
    desk.use(1, 2, at_us=OCTOBER + DAY_US)
    desk.use(4, at_us=NOVEMBER)
    first = desk.bill("2026-10")
    desk.use(8, at_us=NOVEMBER - 5)  # an October row that a slow writer committed late
    desk.use(16, at_us=NOVEMBER + DAY_US)
    second = desk.bill("2026-11", early=True)
    desk.use(32, at_us=NOVEMBER + 2 * DAY_US)
    third = desk.bill("2026-12", early=True)
    lines = [invoice_document(desk.shop, claim.number)["lines"] for claim in (first, second, third)]
    assert [[(line["units"], line["late"]) for line in each] for each in lines] == [
        [(3, 0)],
        [(28, 1)],
        [(32, 1)],
    ]
    rows = [row.id for claim in (first, second, third) for row in line_rows(desk.shop, claim.number, 1)]
    assert len(rows) == len(set(rows)) == 6


months = st.integers(min_value=0, max_value=5)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.tuples(months, st.integers(0, 3)), max_size=8),
    st.lists(st.tuples(months, st.integers(1, 12))),
)
def test_a_row_is_on_one_bill_at_most(asked: list[tuple[int, int]], rows: list[tuple[int, int]]) -> None:
    bills: list[Bill] = []
    for month, sealed in asked:  # each month is billed once, over at least as many seals as the bill before
        if month not in [bill.from_us for bill in bills]:
            bills.append(Bill(month, month + 1, (bills[-1].seals if bills else 0) + sealed))
    for at_us, seal in rows:
        row = UsageRow(seal, "r", at_us, {})
        holders = [count for count in range(1, len(bills) + 1) if bill_of(row, bills[:count]) == count - 1]
        assert len(holders) <= 1  # as seen by each bill when it was made
        assert bill_of(row, bills) == (holders[0] - 1 if holders else None)
        own = [index for index, bill in enumerate(bills) if bill.from_us == at_us]
        if own and bills[own[0]].seals >= seal:
            assert bill_of(row, bills) == own[0]


def test_test_keys_are_never_billed(desk: Desk) -> None:
    desk.use(100, 200, test=True, at_us=NOVEMBER)
    error = refused("usage-none", lambda: desk.bill("2026-11", early=True))
    assert error.values["tests"] == 2
    desk.use(1)
    claim = desk.bill("2026-11", early=True)
    assert [line["requests"] for line in invoice_document(desk.shop, claim.number)["lines"]] == [1]
    assert claim.number.endswith("-0001")  # the refused bill took no number
    desk.shop.act(customer_new, name="Try", test=True)
    refused(
        "invoice-test-customer",
        lambda: desk.shop.act(invoice_issue, customer="Try", period="2026-11", early=True),
    )


def test_a_running_month_is_billed_only_when_asked_for_early(desk: Desk) -> None:
    desk.use(2, at_us=NOVEMBER + DAY_US)
    refused("invoice-month-running", lambda: desk.bill("2026-11"))
    document, pdf = invoice_preview(desk.shop, "Acme 艾可美")
    assert (document["number"], document["lines"][0]["units"]) == ("", 2)
    assert pdf.startswith(b"%PDF-") and invoices_of(desk.shop.control) == []
    assert desk.bill("2026-11", early=True).period == "2026-11"
    refused("usage-none", lambda: invoice_preview(desk.shop, "Acme 艾可美"))


def test_a_preview_seals_nothing_and_says_what_the_bill_will_say(desk: Desk) -> None:
    desk.use(*range(1, 30), at_us=NOVEMBER)
    before = desk.shop.ledger.head()
    seen = [invoice_preview(desk.shop, "Acme 艾可美", "2026-11")[0] for _ in range(3)]
    assert desk.shop.ledger.head() == before and desk.shop.seals("usage") == [], "looking writes nothing"
    issued = invoice_document(desk.shop, desk.bill("2026-11", early=True).number)
    for shown in seen:
        assert shown["total_micros"] == issued["total_micros"]
        assert [{**line, "seals": 0} for line in shown["lines"]] == [{**line, "seals": 0} for line in issued["lines"]]
    desk.use(40)
    later = invoice_preview(desk.shop, "Acme 艾可美", "2026-12")[0]
    assert [line["units"] for line in later["lines"]] == [40], "what came after the bill, sealed or not"


def test_a_credit_note_comes_off_the_next_bills_until_it_is_used_up(desk: Desk) -> None:
    desk.use(1000, 1000, at_us=NOVEMBER)  # ¥10
    note = desk.shop.act(credit_note, customer="Acme 艾可美", amount="8", reason="wrong price")
    assert desk.shop.act(credit_note, customer="Acme 艾可美", amount="8", reason="wrong price").repeated
    refused("credit-note-differs", lambda: desk.shop.act(credit_note, customer="Acme 艾可美", amount="7", reason="wrong price"))
    refused("credit-note-too-large", lambda: desk.shop.act(credit_note, customer="Acme 艾可美", amount="2.01", reason="more"))
    refused("credit-note-amount", lambda: desk.shop.act(credit_note, customer="Acme 艾可美", amount="0.001", reason="less"))
    desk.shop.act(credit_note, customer="Acme 艾可美", amount="2", reason="a gift")
    shown = invoice_preview(desk.shop, "Acme 艾可美", "2026-11")[0]
    assert [one["amount_micros"] for one in shown["credits"]] == [-8_000_000, -2_000_000] and shown["total_micros"] == 0
    first = desk.bill("2026-11", early=True)
    document = invoice_document(desk.shop, first.number)
    assert (document["total_micros"], document["credits"][0]["reason"]) == (0, "wrong price")
    assert first.fixed["notes"] == [[note.id, 8_000_000], [first.fixed["notes"][1][0], 2_000_000]]
    assert remake(desk.shop, first.number) == {"invoice.json": True, "invoice.pdf": True}
    desk.use(1000)  # ¥5
    second = invoice_document(desk.shop, desk.bill("2026-12", early=True).number)
    assert second["total_micros"] == 5_000_000 and "credits" not in second, "no note is used twice"
    assert desk.shop.verify() == []


def test_what_is_left_of_a_note_waits_for_the_next_bill(desk: Desk) -> None:
    desk.use(1000, at_us=OCTOBER + DAY_US)  # ¥5
    desk.use(1000, at_us=NOVEMBER)  # ¥5
    desk.shop.act(credit_note, customer="Acme 艾可美", amount="7", reason="wrong price")
    desk.clock.at_us = NOVEMBER + DAY_US
    totals = [invoice_document(desk.shop, desk.bill(month, early=True).number)["total_micros"] for month in ("2026-10", "2026-11")]
    assert totals == [0, 3_000_000]


@pytest.mark.parametrize("offset", ["+00:00", "-11:00", "+14:00"])
def test_a_month_ends_on_the_shops_own_clock(desk: Desk, offset: str) -> None:
    desk.shop.change_settings(utc_offset=offset)
    last = bounds("2026-11", offset)[1]
    desk.use(1, at_us=last - 1_000_000)
    desk.use(2, at_us=last + 1_000_000)
    bills = [invoice_document(desk.shop, desk.bill(month, early=True).number) for month in ("2026-11", "2026-12")]
    assert [[line["units"] for line in one["lines"]] for one in bills] == [[1], [2]]
    assert bills[0]["period"]["utc_offset"] == offset


def test_a_clock_that_is_behind_stops_new_bills(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use(1, at_us=NOVEMBER)
    first = desk.bill("2026-11", early=True)
    monkeypatch.setattr("mofang.trade.billing.issuing.behind_us", lambda *_: 3_600_000_000)
    refused("clock-behind", lambda: desk.bill("2026-12", early=True))
    assert desk.bill("2026-11") == first, "what was issued can still be read"
    desk.use(1)
    assert desk.bill("2026-12", early=True, clock_checked=True).number.endswith("-0002")


def test_prices_change_within_a_month(desk: Desk) -> None:
    desk.use(1000, at_us=NOVEMBER)
    desk.prices["reviews"] = desk.shop.act(price_set, model="reviews", price="6.00/1000")
    desk.use(1000)
    lines = invoice_document(desk.shop, desk.bill("2026-11", early=True).number)["lines"]
    assert [(line["price_version"], line["amount_micros"]) for line in lines] == [
        (1, 5_000_000),
        (2, 6_000_000),
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"micros": 1}, "usage-charge-wrong"),
        ({"price": None}, "usage-unpriced"),
        ({"price": 9}, "usage-price-unknown"),
    ],
)
def test_usage_that_does_not_fit_its_price_stops_the_bill(
    desk: Desk, changes: dict[str, Any], code: str
) -> None:
    desk.use(1000, at_us=NOVEMBER, **changes)
    refused(code, lambda: desk.bill("2026-11", early=True))
    assert invoices_of(desk.shop.control) == []


def test_customers_see_their_own_rows_only(desk: Desk) -> None:
    other = desk.shop.act(customer_new, name="Other").id
    desk.use(1, at_us=NOVEMBER)
    desk.use(50, account=other)
    claim = desk.bill("2026-11", early=True)
    stored = desk.shop.artifact(desk.shop.ledger.get(claim.entry))
    text = stored.path("invoice.json").read_text()
    assert "Other" not in text and other not in text
    assert json.loads(text)["lines"][0]["units"] == 1


def test_a_customer_can_check_any_row(desk: Desk) -> None:
    desk.use(*range(1, 12), at_us=NOVEMBER)
    number = desk.bill("2026-11", early=True).number
    root = invoice_document(desk.shop, number)["lines"][0]["merkle_root"]
    for row in line_rows(desk.shop, number, 1):
        shown = prove_row(desk.shop, number, 1, row.id)
        assert shown["merkle_root"] == root and check_proof(shown)
        assert not check_proof({**shown, "row": shown["row"].replace('"units":', '"units":1')})
        assert not check_proof({**shown, "merkle_root": "00" * 32})
    refused("invoice-row-unknown", lambda: prove_row(desk.shop, number, 1, "req_none"))
    refused("invoice-line-unknown", lambda: prove_row(desk.shop, number, 2, "req_none"))
    refused("invoice-unknown", lambda: prove_row(desk.shop, "INV-1", 1, "req_none"))


def test_a_line_leads_to_its_seals_requests_and_package(desk: Desk) -> None:
    desk.use(1, 2, at_us=NOVEMBER)
    number = desk.bill("2026-11", early=True).number
    nodes = list(walk(trace_line(desk.shop, number, 1)))
    assert [node.stage for node in nodes] == ["invoice", "line", "seal", "request", "request", "package"]
    assert nodes[2].facts["rows"] == 2 and nodes[-1].entry == PACKAGE
    assert all(isinstance(line, str) for node in nodes for line in details(node))


def test_months_begin_on_the_shops_clock() -> None:
    assert bounds("2026-11", "+08:00") == (1793462400_000000, 1796054400_000000)
    assert bounds("2028-02", "+00:00")[1] - bounds("2028-02", "+00:00")[0] == 29 * DAY_US
    assert period_at(bounds("2027-01", "-03:30")[0], "-03:30") == "2027-01"
    assert period_at(bounds("2027-01", "-03:30")[0] - 1, "-03:30") == "2026-12"


def test_the_stage_alone_chooses_its_time_once(desk: Desk) -> None:
    desk.use(1, at_us=NOVEMBER)
    terms = (desk.shop.seal("customers"), desk.shop.seal("prices"))
    usage = (desk.shop.seal("usage"),)
    asked = {"customer": desk.account, "period": "2026-11"}
    first = desk.shop.run(invoices.invoice, usage, terms, **asked)
    assert desk.shop.run(invoices.invoice, usage, terms, **asked).digest == first.digest
    assert first.read_json("invoice.json")["number"] == ""
    assert first.read_json("invoice.json")["kind"] == billing.KIND


def test_without_any_chinese_font_no_number_is_used_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use(1, at_us=NOVEMBER)
    font = invoice_page.font.__wrapped__
    monkeypatch.setattr(invoice_page, "FONT_PACKAGE", "no_such_package")
    monkeypatch.setattr("typst.Fonts.families", lambda _: ["DejaVu Sans"], raising=False)
    monkeypatch.setattr(billing, "font", font)
    refused("font-missing", lambda: desk.bill("2026-11", early=True))
    assert invoices_of(desk.shop.control) == []


def test_a_hostile_name_stays_text(desk: Desk) -> None:
    desk.use(1, at_us=NOVEMBER)
    document, _ = invoice_preview(desk.shop, "Acme 艾可美", "2026-11")
    document["customer"] = invoices.party('#panic("x") $x$ *b* \\ ` @ref <tag> \u202eevil\nline 2')
    assert document["customer"]["name"].endswith("<tag> evil") and document["customer"]["rows"] == ["line 2"]
    assert invoice_page.render(document, "en").startswith(b"%PDF-")


def test_what_concerns_no_bill_makes_no_seals(desk: Desk) -> None:
    desk.use(1, 1, at_us=NOVEMBER)
    other = desk.shop.act(customer_new, name="Other").id
    desk.use(3, account=other)
    desk.clock.at_us = DECEMBER + 1
    first = desk.bill("2026-11")  # plus a row that settles it
    before = {journal: len(desk.shop.seals(journal)) for journal in ("usage", "customers", "prices")}
    second = desk.shop.act(invoice_issue, customer="Other", period="2026-11")
    assert {journal: len(desk.shop.seals(journal)) for journal in before} == before
    assert invoice_document(desk.shop, second.number)["lines"][0]["units"] == 3
    desk.shop.act(credit_note, customer="Acme 艾可美", amount="0.01", reason="again")
    desk.use(2)
    third = invoice_document(desk.shop, desk.bill("2026-12", early=True).number)
    assert third["lines"][0]["units"] == 2 and third["credits"][0]["amount_micros"] == -10_000
    for number in (first.number, second.number, third["number"]):
        assert all(remake(desk.shop, number).values())
