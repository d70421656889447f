"""Answered, metered, billed: the three agree, and whatever is taken out of one of them is found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import Noop, stock

from mofang.core.shop import Shop
from mofang.trade.billing.issuing import invoice_issue
from mofang.trade.billing.reconcile import reconcile
from mofang.web.access import AccessLog
from tests.stories.terminal import Inside
from tests.web.serving import Serving

BODY = {"text": "好"}


@pytest.fixture
def used(tmp_path: Path) -> Iterator[tuple[Shop, Serving, str]]:
    shop = stock(tmp_path / "shop", price="0.01")
    serving = Serving(shop, {"noop@1": Noop()})
    serving.app.statistics.access = AccessLog(shop.path / "scratch" / "access")
    live = (shop.path / "live").read_text()
    for number in range(3):
        assert serving.predict(live, BODY).status == serving.predict(live, BODY, idempotency_key=str(number)).status == 200
    for _ in range(2):  # a replay, and a refusal: neither is an answer more
        assert serving.predict(live, BODY, idempotency_key="0").status == 200
        assert serving.predict(live, {"wrong": 1}).status == 422
    assert serving.predict((shop.path / "test").read_text(), BODY).status == 200
    vectors = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["好"]}]}
    assert serving.call("POST", "/v2/models/noop/infer", vectors, key=live).status == 200
    serving.app.statistics.gather()
    yield shop, serving, live
    serving.stop()


def test_what_agrees_agrees(used: tuple[Shop, Serving, str]) -> None:
    shop, _, _ = used
    shop.act(invoice_issue, customer="tester", early=True, language="en")
    found = reconcile(shop)
    assert (found.answered, found.used, found.invoices, found.undelivered, found.wrong) == (8, 8, 1, 0, 0), found
    shown = Inside(shop.path.parent).type("reconcile").out
    assert "8 answered, 8 metered" in shown and "everything fits" in shown


def test_what_differs_is_found(used: tuple[Shop, Serving, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shop, _, _ = used
    log = next((shop.path / "scratch" / "access").glob("*.log"))
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:-1], lines[0], lines[0].replace(lines[0][-3:], "zzz"), "torn li", "17636"]) + "\n")
    monkeypatch.setattr("mofang.trade.billing.reconcile.FRESH_US", -10_000_000)
    found = reconcile(shop)
    assert len(found.missing) == 1 and found.missing[0].endswith("zzz") and found.twice == [lines[0].split()[1]]
    shop.control.run("update usage_day set units=units+1 where test=0")
    shop.control.run("delete from usage_day where test=1")
    found = reconcile(shop)
    assert len(found.sums) == 2 and found.wrong == 4
    told = Inside(shop.path.parent).type("reconcile", "--json", status=3).json
    assert told["wrong"] == 4 and "None kept" in "".join(told["sums"])


def test_a_row_without_its_answer_is_told_and_is_no_fault(used: tuple[Shop, Serving, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill between the commit and the sending."""
    shop, serving, live = used
    monkeypatch.setattr("mofang.trade.billing.reconcile.FRESH_US", -10_000_000)
    monkeypatch.setattr(serving.app.statistics, "access", None)
    assert serving.predict(live, BODY).status == 200
    serving.app.statistics.gather()
    found = reconcile(shop)
    assert (found.undelivered, found.wrong, found.used) == (1, 0, 9)


def test_a_server_writes_its_last_answers_down_when_it_ends(tmp_path: Path) -> None:
    from mofang.web.statistics import Statistics

    statistics = Statistics(tmp_path)

    async def life() -> None:
        telling = asyncio.create_task(statistics.tell())
        await asyncio.sleep(0.05)
        statistics.took(0.001, "noop@1", "req_1")
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)

    asyncio.run(life())
    (log,) = (tmp_path / "access").glob("*.log")
    told: list[Any] = log.read_text().split()
    assert told[0].isdigit() and told[1] == "req_1"


def test_in_parts_on_the_disk_it_finds_the_same(used: tuple[Shop, Serving, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As with more answers than fit into memory; torn and doubled lines fall into whatever part they do."""
    shop, _, _ = used
    log = next((shop.path / "scratch" / "access").glob("*.log"))
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:-1], lines[0], *(lines[0][:-3] + word for word in ("aaa", "bbb", "ccc")), "torn li"]) + "\n")
    (log.parent / "2024-01-01_old-1.log").write_text("1704067200000000 req_long_ago\n" * 3)
    monkeypatch.setattr("mofang.trade.billing.reconcile.FRESH_US", -10_000_000)
    whole = reconcile(shop)
    assert (len(whole.missing), len(whole.twice), whole.answered, whole.used) == (3, 1, 10, 8) and whole.undelivered <= 1
    monkeypatch.setattr("mofang.trade.billing.reconcile.PART_IDS", 2)
    monkeypatch.setattr("mofang.trade.billing.reconcile.HELD_MOST", 3)
    parts = reconcile(shop)
    assert {**parts.to_dict(), "from_us": 0, "missing": sorted(parts.missing)} == {**whole.to_dict(), "from_us": 0}
    monkeypatch.setattr("mofang.trade.billing.reconcile.NAMED_MOST", 1)
    few = reconcile(shop)
    assert len(few.missing) == 1 and few.more == 2 and few.wrong == whole.wrong
    assert not list((shop.path / "scratch").glob("reconcile-*")), "nothing is left of it"


def test_answers_that_are_given_meanwhile_are_no_difference(used: tuple[Shop, Serving, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy server the daily sums grow between the first look at them and the last row."""
    from mofang.trade.billing import reconcile as module

    shop, serving, live = used
    plain = module._kept_sums

    def busy(*given: Any) -> Any:
        found = plain(*given)
        assert serving.predict(live, BODY).status == 200
        return found

    monkeypatch.setattr(module, "_kept_sums", busy)
    found = reconcile(shop)
    assert found.wrong == 0 and found.used == 8, found
