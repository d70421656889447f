"""What the issue of trade calls bad input: each a clear refusal with a code, in both languages, and the books unchanged.

Typed into the command line of a shop that has sold. After every refusal both databases are what they were, table by table, and
no file was added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mofang.core.action import Act
from mofang.core.database import SQLite
from mofang.core.shop import Shop
from mofang.core.tables import FILES, digests
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.billing.issuing import seal_terms
from mofang.trade.billing.oneoff import charge
from mofang.trade.billing.paid import pay
from tests.serve.parcels import make_model
from tests.stories.terminal import Inside
from tests.trade.bookkeeping import CLOCKED, DAY_US, NAME, NOVEMBER, OCTOBER, Clock, Desk
from tests.web.serving import Fixed, Serving

FORBIDS = "CC-BY-NC-4.0"
BILL = "INV-2026-10-0001"


@dataclass
class Books:
    """A folder with a shop, and what its books hold."""

    folder: Path
    clock: Clock

    def held(self) -> dict[str, Any]:
        """Every table of both databases by digest, and every file."""
        found: dict[str, Any] = {}
        for name in FILES:
            db = SQLite(self.folder / "shop" / name)
            found[name] = {table: told for table, told in digests(db).items() if told[0]}  # a first look may make empty tables
            db.close()
        files = (one for one in (self.folder / "shop").rglob("*") if one.is_file())
        found["files"] = sorted(str(one.relative_to(self.folder)) for one in files
                                if one.suffix not in (".db-wal", ".db-shm", ".db") and "cache" not in one.parts and "scratch" not in one.parts)
        return found

    def type(self, *words: str, language: str = "en", status: int | None = None) -> Any:
        return Inside(self.folder, language).type(*words, status=status)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """October is billed; November, the fifth, runs; a payment is booked; the model is from records that forbid its lease."""
    folder = tmp_path_factory.mktemp("refusals")
    clock = Clock(OCTOBER + DAY_US)
    patches = [mock.patch(f"mofang.{module}.now_us", clock) for module in CLOCKED]
    patches.append(mock.patch("mofang.trade.billing.issuing.behind_us", lambda *_: 0))
    for one in patches:
        one.start()
    shop = Shop.open(folder / "shop")
    desk = Desk(shop, clock)
    desk.use(1000, 2000)
    clock.at_us = NOVEMBER + 4 * DAY_US
    desk.bill("2026-10")
    desk.use(500)
    shop.act(pay, customer=NAME, amount="10", reference="bank 1")
    charge(Act(shop, shop.actor), NAME, "other", "a day's work", 50_000_000, "CNY", "run_x")
    shop.act(customer_new, name="Nobody's plan")
    shop.act(customer_new, name="Trial", test=True)
    shop.act(key_new, customer="Nobody's plan")
    with mock.patch("tests.serve.parcels.LICENCE", FORBIDS):
        made = make_model(shop, folder, "reviews")
    shop.name("unpriced", made)
    seal_terms(shop)  # a bill seals before it looks, whether it is refused or not: no row changes by it
    shop.control.close()
    shop.ledger.db.close()
    yield Books(folder, clock)
    for one in patches:
        one.stop()


REFUSED: list[tuple[str, tuple[str, ...]]] = [
    # prices that overlap, leave a gap, are negative, or in another currency
    ("tiers-overlap", ("price", "set", "reviews", "--tiers", "0-100:2, 50-:1", "--yes")),
    ("tiers-gap", ("price", "set", "reviews", "--tiers", "0-100:2, 200-:1", "--yes")),
    ("tiers-gap", ("price", "set", "reviews", "--tiers", "10-100:2, 100-:1", "--yes")),
    ("tiers-gap", ("price", "set", "reviews", "--volume", "0-100:2, 100-200:1", "--yes")),
    ("amount-negative", ("price", "set", "reviews", "--tiers", "0-100:2, 100-:-1", "--yes")),
    ("amount-negative", ("price", "set", "reviews", "--yes", "--", "-5/1000")),
    ("amount-negative", ("price", "set", "reviews", "5", "--minimum", "-1", "--yes")),
    ("currency-other", ("price", "set", "reviews", "$5/1000", "--yes")),
    ("price-in-the-past", ("price", "set", "reviews", "5/1000", "--starts", "2026-10-01", "--yes")),
    ("price-inexact", ("price", "set", "reviews", "0.000001/7", "--yes")),
    # a period that is not over, a customer without a plan or use, a test customer
    ("invoice-month-running", ("invoice", NAME, "--period", "2026-11")),
    ("invoice-month-running", ("invoice", NAME)),
    ("usage-none", ("invoice", "Nobody's plan", "--period", "2026-10")),
    ("invoice-test-customer", ("invoice", "Trial", "--period", "2026-10")),
    ("customer-unknown", ("invoice", "Nobody", "--period", "2026-10")),
    # a credit beyond the invoice
    ("credit-beyond-line", ("credit", BILL, "1", "--units", "3001", "--why", "all of it", "--yes")),
    ("credit-one-of", ("credit", BILL, "1", "--amount", "1", "--why", "part", "--yes")),
    ("invoice-line-unknown", ("credit", BILL, "9", "--units", "1", "--why", "part", "--yes")),
    ("invoice-unknown", ("credit", "INV-2026-10-0009", "1", "--units", "1", "--why", "part", "--yes")),
    ("credit-note-too-large", ("customer", "credit-note", NAME, "17.51", "--reason", "all", "--yes")),
    # a payment repeated with another amount, an empty one, one of another currency, one that could never be used
    ("top-up-differs", ("pay", NAME, "11", "--reference", "bank 1")),
    ("top-up-differs", ("customer", "top-up", NAME, "11", "--reference", "bank 1")),
    ("top-up-empty", ("pay", NAME, "0", "--reference", "bank 2")),
    ("currency-other", ("pay", NAME, "$5", "--reference", "bank 2")),
    ("payment-until", ("pay", NAME, "5", "--reference", "bank 2", "--until", "2026-11-04")),
    ("amount-negative", ("pay", "--reference", "bank 2", "--", NAME, "-5")),
]


@pytest.mark.parametrize(("code", "words"), REFUSED, ids=[f"{code}-{at}" for at, (code, _) in enumerate(REFUSED)])
def test_refused_and_nothing_changed(books: Books, code: str, words: tuple[str, ...]) -> None:
    before = books.held()
    english, chinese = books.type(*words, status=1), books.type(*words, language="zh", status=1)
    assert (english.code, chinese.code) == (code, code), english.err
    assert english.err != chinese.err and any("\u4e00" <= sign <= "\u9fff" for sign in chinese.err)
    assert "\n→ " in english.err, "what to do now"
    assert books.held() == before


@pytest.mark.parametrize(("words", "said"), [
    (("invoice", NAME, "--period", "2026-10"), BILL),
    (("pay", NAME, "10", "--reference", "bank 1"), "already"),
    (("customer", "top-up", NAME, "10", "--reference", "bank 1"), "already"),
])
def test_asked_twice_it_is_the_same_one(books: Books, words: tuple[str, ...], said: str) -> None:
    """An invoice and a payment: no fault of whoever asks again, and nothing is added."""
    first = books.type(*words, status=0)
    before = books.held()
    again = books.type(*words, status=0)
    assert said in first.out and again.out == first.out and books.held() == before


def test_a_model_without_a_price_is_not_sold(books: Books) -> None:
    """A customer without a plan: neither the command line nor the server takes on a promise that nobody priced."""
    shop = Shop.open(books.folder / "shop")
    token = shop.act(key_new, customer="Nobody's plan").token
    before = books.held()
    english, chinese = (books.type("sell", "unpriced", "--to", "Nobody's plan", "--yes", language=one, status=1) for one in ("en", "zh"))
    assert english.code == chinese.code == "sale-price-needed" and books.held() == before
    serving = Serving(shop, {"unpriced@1": Fixed(lambda records: [{"label": "x"} for _ in records])})
    try:
        told = serving.predict(token, {"text": "好"}, model="unpriced")
    finally:
        serving.stop()
    assert told.status >= 400 and told.code == "price-missing", told
    assert not [row for row in shop.journals.rows("usage") if "unpriced" in row.text]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_lease_for_a_model_whose_data_forbids_it(books: Books, language: str) -> None:
    """A real package from records that are not for commercial use: refused by name, nothing written, no file left."""
    before = books.held()
    told = books.type("lease", "new", "reviews", "--to", NAME, "--until", "9d", "--out", "never.lease", "--yes", language=language, status=1)
    assert told.code == "lease-forbidden" and FORBIDS in told.err
    assert books.held() == before and not (books.folder / "never.lease").exists()
