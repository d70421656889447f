"""Equal bodies within a minute are counted on the bill; a request with a retry key never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import stock

from mofang.core.shop import Shop
from mofang.trade.billing.issuing import invoice_preview
from mofang.trade.request import repeats
from mofang.trade.request.repeats import Repeats
from tests.web.serving import Fixed, Serving


class Turned:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_within_a_minute_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Turned()
    monkeypatch.setattr(repeats, "time", clock)
    found = Repeats()
    assert not found.seen("k", "m", b"a")
    for other in (("k2", "m", b"a"), ("k", "m2", b"a"), ("k", "m", b"b")):
        assert not found.seen(*other)
    clock.now_s += 59
    assert found.seen("k", "m", b"a")
    clock.now_s += 59
    assert found.seen("k", "m", b"a"), "a minute after the last one"
    clock.now_s += 61
    assert not found.seen("k", "m", b"a")
    clock.now_s += 500
    assert not found.seen("k", "m", b"b")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST", 10)
    found = Repeats()
    for number in range(100):
        found.seen("k", "m", str(number).encode())
    assert len(found._now) == 10


def test_they_are_billed_and_counted_on_the_line(tmp_path: Path) -> None:
    shop: Shop = stock(tmp_path / "shop", "5.00/1000")
    key = (tmp_path / "shop" / "live").read_text()
    serving = Serving(shop, {"noop@1": Fixed(lambda records: [{"label": "x"} for _ in records])})
    try:
        bodies: list[dict[str, Any]] = [{"text": "a"}, {"text": "a"}, {"text": "b"}, {"text": "a"}]
        assert [serving.predict(key, body).status for body in bodies] == [200] * 4
        assert [serving.predict(key, bodies[0], idempotency_key=str(n)).status for n in range(2)] == [200] * 2
    finally:
        serving.stop()
    document, pdf = invoice_preview(shop, "tester")
    line = document["lines"][0]
    assert (line["requests"], line["repeats"]) == (6, 2) and pdf.startswith(b"%PDF-")
    assert shop.control.rows("select sum(requests) from usage_repeat") == [(2,)] and shop.verify() == []
