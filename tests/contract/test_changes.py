"""A record added, a label changed or a setting changed runs again only what depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mofang.core.shop import Shop
from tests.contract.world import write_texts


def ran(shop: Shop, after: int) -> list[str]:
    return [entry.body["stage"] for entry in shop.ledger.entries("done", after_seq=after)]


@pytest.fixture
def made(tmp_path: Path, shop: Shop) -> tuple[Path, Any]:
    from mofang.recipe import clean, collect, evaluate, export, snapshot, train

    source = tmp_path / "texts.csv"
    write_texts(source)

    def life(**training: Any) -> dict[str, Any]:
        records = shop.run(collect, source=str(source), licence="own", text=("text",), label="label")
        cleaned = shop.run(clean, records)
        data = shop.run(snapshot, cleaned / "kept", task="text_classification", label="label", inputs=("text",))
        graph = shop.run(export, shop.run(train, data, **training))
        return {"snapshot": data, "evaluation": shop.run(evaluate, graph, data / "test", resamples=20)}

    return source, life


def test_nothing_changed_nothing_runs(made: tuple[Path, Any], shop: Shop) -> None:
    _, life = made
    first = life()
    head = shop.ledger.head()[0]
    second = life()
    assert ran(shop, head) == []
    assert second["evaluation"].digest == first["evaluation"].digest


def test_a_changed_setting_runs_from_there(made: tuple[Path, Any], shop: Shop) -> None:
    _, life = made
    life()
    head = shop.ledger.head()[0]
    life(seed=1)
    assert "collect" not in ran(shop, head) and "snapshot" not in ran(shop, head) and "train" in ran(shop, head)


def test_a_record_added_keeps_every_old_record_on_its_side(made: tuple[Path, Any], shop: Shop) -> None:
    import pyarrow.parquet as pq

    source, life = made
    before = life()["snapshot"]
    source.write_text(source.read_text(encoding="utf-8") + "新来的一条，房间很好，服务满意,pos\n", encoding="utf-8")
    head = shop.ledger.head()[0]
    after = life()["snapshot"]
    assert ran(shop, head)[:4] == ["collect", "survey", "clean", "snapshot"]
    sides = [{id: side for side in ("train", "validation", "test")
              for id in pq.read_table((data / side).path("values.parquet"), columns=["id"]).column(0).to_pylist()}
             for data in (before, after)]
    assert len(sides[1]) == len(sides[0]) + 1
    assert all(sides[1][id] == side for id, side in sides[0].items())


def test_a_label_changed_keeps_the_record_on_its_side(made: tuple[Path, Any], shop: Shop) -> None:
    import pyarrow.parquet as pq

    source, life = made
    before = life()["snapshot"]
    lines = source.read_text(encoding="utf-8").splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0] + (",neg" if lines[5].endswith("pos") else ",pos")
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    after = life()["snapshot"]
    ids = [{side: set(pq.read_table((data / side).path("values.parquet"), columns=["id"]).column(0).to_pylist())
            for side in ("train", "validation", "test")} for data in (before, after)]
    assert ids[0] == ids[1] and before.digest != after.digest
