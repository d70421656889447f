"""An Idempotency-Key where nobody looks before the commit: answered, charged and refused as if somebody had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bench._noop_server import ANSWER

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.serve.batching import Batcher
from mofang.trade.accounts.customers import customer_new, customer_top_up
from mofang.trade.accounts.keys import key_new
from mofang.trade.billing.balance import return_expired
from mofang.trade.pricing.prices import price_set
from mofang.trade.request.replay import KEPT_US, Stored, store_answers, stored_answers
from tests.stories.terminal import eventually
from tests.trade.at_meter import Till
from tests.web.serving import Fixed, Serving

LIGHT = pytest.mark.parametrize("light", [True, False], ids=["light", "heavy"])


class Counting(Fixed):
    """Says how often it was asked, and fails when told to."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.asked, self.broken = 0, False

    def answer(self, records: Any) -> list[dict[str, Any]]:
        if self.broken:
            raise MofangError("engine-failed", detail="as if")
        self.asked += len(records)
        return [{**ANSWER, "number": self.asked} for _ in records]


class Sold:
    """A server with one model, and what its customer was charged."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.model = shop, Counting()
        self.account = shop.act(customer_new, name="书店", credit="0.05").id
        shop.act(price_set, model="noop", price="0.01")
        self.token = shop.act(key_new, customer="书店").token
        self.serving = Serving(shop, {"noop@1": self.model})

    def ask(self, retry_key: str, text: str = "好") -> Any:
        return self.serving.predict(self.token, {"text": text}, idempotency_key=retry_key)

    def uses(self) -> int:
        return sum(row.kind == "use" for row in self.shop.journals.rows("usage"))


@pytest.fixture
def sold(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sold]:
    made = Sold(shop)
    yield made
    made.serving.stop()
    assert shop.journals.verify() == []


@LIGHT
def test_a_repeated_request_gets_the_first_answer_whatever_has_become_of_money_and_model(
        sold: Sold, light: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batcher, "light", light)
    first = sold.ask("one")
    again = sold.ask("one")
    assert first.status == again.status == 200 and again.body == first.body and again.headers["idempotent-replayed"] == "true"
    assert sold.uses() == 1 and sold.model.asked == (2 if light else 1), "a light model may be asked twice; the customer pays once"
    assert sold.ask("one", "别的").code == "retry-key-reused" and sold.uses() == 1
    sold.model.broken = True
    assert sold.ask("one").body == first.body and sold.ask("new").code == "engine-failed"
    sold.model.broken = False
    assert [sold.ask(f"more {n}").code for n in range(5)] == ["ok"] * 4 + ["credit-used-up"]
    assert sold.ask("one").body == first.body, "nobody is refused for want of money what is paid for"
    assert sold.ask("one", "别的").code == "retry-key-reused" and sold.ask("more 4").code == "credit-used-up" and sold.uses() == 5
    sold.shop.act(customer_top_up, customer="书店", amount="0.01", reference="a")
    assert sold.ask("more 4").code == "ok", "what was refused has left no answer behind"
    assert not sold.serving.desk.running and not sold.serving.desk.pending


def test_a_large_body_is_looked_up_before_it_is_answered(sold: Sold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batcher, "light", True)
    for _ in range(2):
        assert sold.ask("one", "好" * 2000).status == 200
    assert sold.model.asked == 1


# At the meter


@pytest.fixture
def till(any_shop: Shop) -> Iterator[tuple[Shop, Till, Any, Any]]:
    account = any_shop.act(customer_new, name="Ming", credit="1").id
    price = any_shop.act(price_set, model="reviews", price="0.01")
    made = Till(any_shop.control.again())
    yield any_shop, made, account, price
    made.meter.close()
    assert any_shop.journals.verify() == []


def uses(shop: Shop) -> list[str]:
    return [row.body["request_id"] for row in shop.journals.rows("usage") if row.kind == "use"]


def test_a_key_taken_in_the_midst_of_a_group_is_replayed_and_the_others_are_charged(till: tuple[Shop, Till, Any, Any]) -> None:
    """More than one statement holds, and one key twice."""
    shop, one, account, price = till
    taken = one.sell(account, 1, price, retry_key="7", digest="d")
    other = one.sell(account, 1, price, retry_key="70", digest="other")
    assert one.reserve(account, 10_000 * 91) is None
    with shop.control.transaction():  # the meter must wait; meanwhile the group grows
        waiting = [one.charge(account, 1, price, reserved=10_000, retry_key=str(n % 90), digest="d", wait=False) for n in range(91)]
    told = [each.wait() for each in waiting]
    assert told[7].replayed and told[7].body == taken.body and told[70].code == "retry-key-reused"
    last = told.pop()
    assert last.code == "retry-in-progress" if isinstance(last, MofangError) else last.replayed and last.body == told[0].body
    fresh = [each for n, each in enumerate(told) if n not in (7, 70)]
    assert all(isinstance(each, Stored) and not each.replayed for each in fresh)
    assert sorted(uses(shop)) == sorted([taken.request_id, other.request_id, *(each.request_id for each in fresh)])
    assert one.meter.purses.by_account[account].reserved == 0


def test_a_charge_that_its_money_has_left_leaves_no_answer_behind(till: tuple[Shop, Till, Any, Any]) -> None:
    """Another server gave back what this one was too slow to renew, and the customer spent it."""
    shop, slow, account, price = till
    quick = Till(shop.control.again())
    assert slow.reserve(account, 10_000) is None
    return_expired(shop.journals, now_us() + 3_600_000_000)
    for n in range(100):
        assert quick.sell(account, 1, price).status == 200, n
    assert slow.charge(account, 1, price, retry_key="a", digest="d").code == "credit-used-up"
    assert stored_answers(shop.control, [f"{account}/a"], now_us()) == {} and len(uses(shop)) == 100
    shop.act(customer_top_up, customer="Ming", amount="0.01", reference="a")
    assert not quick.sell(account, 1, price, retry_key="a", digest="d").replayed
    quick.meter.close()


def test_an_outdated_answer_gives_way_to_a_new_one(till: tuple[Shop, Till, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shop, one, account, price = till
    first = one.sell(account, 1, price, retry_key="a", digest="d")
    for later_us, new in ((KEPT_US - 5_000_000, False), (KEPT_US + 1_000_000, True), (KEPT_US + 2_000_000, False)):
        monkeypatch.setattr("mofang.trade.request.meter.now_us", lambda later_us=later_us: now_us() + later_us)
        assert one.reserve(account, 10_000) is None
        told = one.charge(account, 1, price, reserved=10_000, retry_key="a", digest="d")
        assert told.replayed is not new
        first = told if new else first
        assert told.body == first.body
    assert len(uses(shop)) == 2


def test_a_busy_day_is_forgotten_as_fast_as_it_came(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes a bounded number of outdated answers away; where more are left the next one comes soon."""
    one = Till(shop.control.again())
    one.meter.close()
    told = ((f"cus/{n}", Stored("d", f"req_{n}", 200, b"answer")) for n in range(100))
    assert store_answers(shop.control, told, now_us() - KEPT_US - 1) == 100
    monkeypatch.setattr("mofang.trade.request.meter.FORGET_MOST", 2)
    monkeypatch.setattr("mofang.trade.request.meter.SWEEP_S", 0.5)
    monkeypatch.setattr("mofang.trade.request.meter.AGAIN_S", 0.001)
    other = Till(shop.control.again())
    assert eventually(lambda: not shop.control.rows("select name from replay"), 10)
    other.meter.close()
