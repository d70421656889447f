"""Counts that follow the ledger: caught up, made anew where the chain is another, on the shop's clock."""

from __future__ import annotations

import pytest

from mofang.core.clock import behind_us, day_of, read_offset
from mofang.core.errors import MofangError
from mofang.core.history import catch_up, recent, spent_by_day, spent_since, unfinished
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from tests.core.kernel_stages import count

BODY = {"stage": "count", "settings": {}, "inputs": []}


def cost(micros: int | None, wall_s: float = 2.0) -> dict[str, object]:
    own = {"wall_s": wall_s, "cpu_s": 1.0, "energy_wh": 0.5, "micros": micros}
    return {**BODY, "output": {}, "cost": {"own": own, "total": own}}


def test_what_is_open_and_what_was_spent_follow_the_ledger(any_shop: Shop) -> None:
    ledger = any_shop.ledger
    start = ledger.append("start", "a", any_shop.actor, BODY)
    ledger.append("start", "b", any_shop.actor, BODY)
    assert [one.key for one in unfinished(ledger)] == ["a", "b"]
    ledger.append("done", "a", any_shop.actor, cost(None))
    ledger.append("fail", "b", any_shop.actor, {**BODY, "error": "x"})
    assert unfinished(ledger) == []
    ledger.append("start", "a", any_shop.actor, BODY)
    ledger.append("done", "c", any_shop.actor, cost(30, 4.0))
    assert [one.key for one in unfinished(ledger)] == ["a"] and unfinished(ledger)[0].id != start.id
    assert [one.state for one in recent(ledger, 10)] == ["done", "abandoned", "failed", "done"]
    spent = spent_since(ledger, "2000-01-01")
    assert (spent.runs, spent.micros, spent.unpriced_runs, spent.unpriced_s, spent.wall_s) == (2, 30, 1, 2.0, 6.0)
    assert spent_since(ledger, "2999-01-01").runs == 0


def test_another_chain_is_counted_anew(shop: Shop) -> None:
    shop.run(count)
    assert spent_since(shop.ledger, "2000-01-01").runs == 1
    shop.ledger.db.run("update history set chain='of another ledger'")
    shop.ledger.db.run("update history_day set runs=77")
    assert spent_since(shop.ledger, "2000-01-01").runs == 1
    assert shop.verify() == []


def test_days_are_those_of_the_shops_clock(shop: Shop) -> None:
    shop.ledger.append("done", "a", shop.actor, cost(1))
    for offset in ("+14:00", "-11:00", "+08:00"):
        assert [day for day, _ in spent_by_day(shop.ledger, offset)] == [day_of(now_us(), offset)]
    catch_up(shop.ledger)
    assert [spent.runs for _, spent in spent_by_day(shop.ledger)] == [1]


@pytest.mark.parametrize(("text", "offset"), [("+8", "+08:00"), ("UTC+8", "+08:00"), ("-03:30", "-03:30"), ("Z", "+00:00"),
                                              ("+0545", "+05:45"), ("GMT−5", "-05:00"), ("utc", "+00:00")])
def test_offsets_as_people_write_them(text: str, offset: str) -> None:
    assert read_offset(text) == offset


@pytest.mark.parametrize("text", ["Beijing", "+15", "8", "+08:07", "+8:99", "++8"])
def test_no_offset(text: str) -> None:
    with pytest.raises(MofangError, match="UTC"):
        read_offset(text)


def test_time_that_goes_backwards_is_noticed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(count)
    assert behind_us(shop.ledger.db, shop.journals.db) == 0
    real = now_us()
    monkeypatch.setattr("mofang.core.clock.now_us", lambda: real - 3_600_000_000)
    assert abs(behind_us(shop.ledger.db, shop.control) - 3_600_000_000) < 60_000_000
    monkeypatch.setattr("mofang.core.clock.now_us", lambda: real - 60_000_000)
    assert behind_us(shop.ledger.db, shop.control) == 0, "machines of one shop may differ by a minute"
