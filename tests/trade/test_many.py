"""The generated busy shop is a shop like any other: everything in it verifies, lists and bills."""

from __future__ import annotations

from pathlib import Path

from mofang.core.history import recent, unfinished
from mofang.core.shop import Shop
from mofang.trade.pricing.earnings import earned_since
from mofang.trade.provenance import trace_tree
from tests.many import make_many


def test_a_generated_shop_verifies(tmp_path: Path) -> None:
    made = make_many(tmp_path / "shop", usage=1_200, runs=120)
    shop = Shop.open(tmp_path / "shop", make=False)
    assert shop.verify() == []
    earned = earned_since(shop, "2000-01-01")
    assert earned.requests + earned.test_requests == made.usage and earned.micros > 5_000 * earned.requests
    assert len(unfinished(shop.ledger)) == 3 and len(recent(shop.ledger, 30)) == 30
    assert len(made.invoices) == 4 and made.models
    trace_tree(shop, made.invoices[0], 1)
