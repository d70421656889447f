"""A day's real lengths, replayed: what customers in four currencies are billed is the sum to the last micro.

The texts are what scikit-learn says of its data sets, paragraph by paragraph and in windows that slide over them; a token is a word
as jieba cuts it. Some hundred go over HTTP through the server, the rest through the meter; 100,000 of them in
``bench/faults.py replay``.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import Noop

from mofang.core.errors import MofangError
from mofang.core.identity import new_id, now_us
from mofang.core.money import MINOR_MICROS
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.billing.billed import period_at
from mofang.trade.billing.issuing import invoice_document, invoice_issue, remake
from mofang.trade.billing.proofs import line_rows
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.request.commit import Charge, Draw, most_for
from mofang.trade.request.meter import Meter
from tests.web.serving import Serving

SOLD = {"CNY": ("0.0337/1000", "6%"), "USD": ("0.4999/1000", "8.875%"), "EUR": ("1.234567/1000", "19%"), "JPY": ("77/1000", "10%")}
BATCH = 500


@cache
def texts() -> tuple[str, ...]:
    """Paragraphs, and windows over them, of whatever length they have."""
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, "scikit-learn is among what Mofang needs"
    found: list[str] = []
    for path in sorted((Path(spec.submodule_search_locations[0]) / "datasets" / "descr").glob("*.rst")):
        parts = [part.strip() for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip()]
        found += [*parts, *("\n".join(parts[at:at + wide]) for wide in (2, 5) for at in range(len(parts) - wide))]
    return tuple(found)


@cache
def tokens(text: str) -> int:
    """How many words jieba cuts a text into."""
    import jieba

    jieba.setLogLevel("ERROR")
    return sum(1 for word in jieba.lcut(text) if word.strip())


class ByToken(Noop):
    """Counts a request as its tokens."""

    def units(self, records: Sequence[dict[str, Any]]) -> int:
        return sum(tokens(str(record["text"])) for record in records)


class Day:
    """Four customers in four currencies, and what each has used, counted apart from the shop."""

    def __init__(self, path: Path) -> None:
        self.shop = Shop.open(path)
        self.prices: dict[str, Price] = {}
        self.accounts: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.rates: dict[str, int] = {}
        for currency, (price, tax) in SOLD.items():
            self.accounts[currency] = self.shop.act(customer_new, name=currency, currency=currency, credit="100000000").id
            self.prices[currency] = self.shop.act(price_set, model=f"words-{currency.lower()}", price=price, currency=currency)
            self.shop.act(customer_agree, customer=currency, tax=tax)
        self.lengths = [tokens(text) for text in texts()[::3]]

    def over_http(self, count: int) -> None:
        """Through the server, each customer with its key; every fifth is sent twice under one Idempotency-Key."""
        keys = {currency: self.shop.act(key_new, customer=currency).token for currency in SOLD}
        serving = Serving(self.shop, {f"{price.model}@1": ByToken() for price in self.prices.values()})
        chance = random.Random(count)
        try:
            for at in range(count):
                currency, text = chance.choice(list(SOLD)), chance.choice(texts())
                for _ in range(2 if at % 5 == 0 else 1):
                    told = serving.predict(keys[currency], {"text": text}, model=self.prices[currency].model, idempotency_key=f"r{at}")
                    assert told.status == 200 and told.json["units"] == tokens(text), told
                self.note(currency, tokens(text))
        finally:
            serving.stop()

    def through_the_meter(self, count: int) -> None:
        """Straight to the meter, some hundred on their way at a time."""
        meter, chance = Meter(self.shop.control.again()), random.Random(count)
        meter.start()
        wrong: list[Any] = []
        for begin in range(0, count, BATCH):
            chosen = [(chance.choice(list(SOLD)), chance.choice(self.lengths)) for _ in range(min(BATCH, count - begin))]
            need: dict[str, int] = defaultdict(int)
            for currency, units in chosen:
                need[currency] += most_for(units, self.prices[currency])
            self._wait(meter, [Draw(self.accounts[currency], micros, lambda _: None) for currency, micros in need.items()], wrong)
            works = [Charge(new_id("req"), self.accounts[currency], "k1", f"{self.prices[currency].model}@{1 + units % 2}",
                            "run_0000000000000000000000pack", units, self.prices[currency], False, most_for(units, self.prices[currency]),
                            b"{}", lambda _: None, "", "", tokens=(units, 0)) for currency, units in chosen]
            self._wait(meter, works, wrong)
            for currency, units in chosen:
                self.note(currency, units)
        meter.close()
        assert wrong == []

    def _wait(self, meter: Meter, works: Sequence[Any], wrong: list[Any]) -> None:
        free = threading.Semaphore(0)

        def done(outcome: Any) -> None:
            if isinstance(outcome, MofangError):
                wrong.append(outcome)
            free.release()

        for work in works:
            work.done = done
            meter.submit(work)
        for _ in works:
            assert free.acquire(timeout=60)

    def note(self, currency: str, units: int) -> None:
        self.counts[currency] += 1
        self.used[currency] += units

    def bill_and_compare(self) -> int:
        """Bill every customer; how many rows stand on the bills."""
        rows = 0
        for currency, account in self.accounts.items():
            rate, minor = self.prices[currency].rate, MINOR_MICROS[currency]
            claim = self.shop.act(invoice_issue, customer=currency, period=period_at(now_us(), "+08:00"), early=True, clock_checked=True)
            document = invoice_document(self.shop, claim.number)
            uses = [line for line in document["lines"] if line["kind"] == "usage"]
            assert sum(line["units"] for line in uses) == self.used[currency]
            assert sum(line["requests"] for line in uses) == self.counts[currency]
            exact = Fraction(self.used[currency] * rate, 10**6)
            assert 0 <= exact - document["metered_micros"] < 1 and document["metered_micros"] == sum(line["exact_micros"] for line in uses)
            for line in uses:
                assert line["amount_micros"] == half_even(Fraction(line["exact_micros"]), minor), line
            net = sum(line["amount_micros"] for line in uses)
            tax = [line for line in document["lines"] if line["kind"] == "tax"]
            wanted = half_even(Fraction(net) * Fraction(SOLD[currency][1].rstrip("%")) / 100, minor)
            assert [line["amount_micros"] for line in tax] == [wanted] and document["total_micros"] == net + wanted
            assert document["currency"] == currency and document["total_micros"] % minor == 0
            debited = self.shop.control.rows("select sum(micros) from usage_day where account=?", (account,))[0][0]
            assert int(debited) == document["metered_micros"], "the balance fell by what the bill says"
            if self.counts[currency] < 2000:
                stood = [row for line in uses for row in line_rows(self.shop, claim.number, line["line"])]
                assert len({row.id for row in stood}) == self.counts[currency]
            assert remake(self.shop, claim.number)["invoice.json"]
            rows += self.counts[currency]
        assert self.shop.verify() == []
        return rows


def half_even(micros: Fraction, minor: int) -> int:
    """To what can be paid, ties to the even one: Python's own rounding of a fraction."""
    return round(micros / minor) * minor


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return Day(tmp_path / "shop")


def test_a_days_real_lengths_come_to_the_bill_to_the_last_micro(day: Day) -> None:
    assert len(set(day.lengths)) > 100 and max(day.lengths) > 300, "real lengths, all different"
    day.over_http(100)
    day.through_the_meter(3000)
    assert day.bill_and_compare() == 3100
