"""mofang gauge: small runs of one's own, the law fitted to them, and its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.recipe import collect, gauge, plan, shard, tokenizer

SMALL: dict[str, Any] = {"depths": (1, 2), "tokens": 2048, "context": 32, "batch_tokens": 512}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Chinese sentences, most of them foreseeable."""
    folder = tmp_path_factory.mktemp("gauge")
    lines = [
        json.dumps(
            {"text": f"第{number}号房间很干净，早餐{'很好' if number % 2 else '一般'}，价格是{number % 50}元。"},
            ensure_ascii=False,
        )
        for number in range(400)
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    shop = Shop.open(folder / "shop")
    records = shop.run(collect, source=str(folder / "texts.jsonl"), licence="CC0-1.0", origin="tests", text=("text",))
    return shop.run(shard, (records,), shop.run(tokenizer, (records,), size=300), validation=0.1)


def test_a_law_from_runs_of_ones_own(shards: Any) -> None:
    shop: Shop = shards.shop
    made = shop.run(gauge, shards, **SMALL)
    told = made.read_json("law.json")
    assert len(told["points"]) == 3 and len({(one["parameters"], one["tokens"]) for one in told["points"]}) == 3
    assert (
        told["law"]["floor"] >= 0
        and told["law"]["points"] == 3
        and [one["flops"] for one in told["budgets"]] == [1e15, 1e18, 1e21]
    )
    body = shop.ledger.get(made.entry).body
    assert [one["stage"] for one in body["nested"]] == ["pretrain"] * 3 and "CC0-1.0" in body["licences"]
    assert body["cost"]["total"]["cpu_s"] > body["cost"]["own"]["cpu_s"] >= 0
    for nested in body["nested"]:
        measures = shop.ledger.get(nested["entry"]).body["measures"]
        assert measures["predicted_s"] > 0 and measures["predicted_mb"] > 0, "each small run was foretold"
    again = shop.run(gauge, shards, **SMALL)
    assert shop.ledger.get(again.entry).kind == "reuse" and again.digest == made.digest


def test_its_law_stands_beside_the_published_ones(shards: Any) -> None:
    shop: Shop = shards.shop
    law = shop.run(gauge, shards, **SMALL)
    if min(law.read_json("law.json")["law"][name] for name in ("size", "data")) > 0:
        found = shop.run(plan, None, law, model="gpt-2", tokens=1e9).read_json("plan.json")
        assert [one["law"] for one in found["optimum"]] == ["chinchilla", "nanochat", "own runs"]
    else:
        with pytest.raises(MofangError) as refused:
            shop.run(plan, None, law, model="gpt-2", tokens=1e9)
        assert refused.value.code == "plan-fit-flat"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"architecture": "bert"}, "gauge-unsuited"),
        ({"depths": (0,)}, "setting-refused"),
        ({"no_such": 1}, "setting-unknown"),
    ],
)
def test_it_refuses_in_words(shards: Any, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(MofangError) as refused:
        shards.shop.run(gauge, shards, **{**SMALL, **settings})
    assert refused.value.code == code and refused.value.fix


def test_a_wrong_input_is_refused(shards: Any, tmp_path: Path) -> None:
    with pytest.raises(MofangError) as refused:
        shards.shop.run(gauge, shards.shop.run(gauge, shards, **SMALL), **SMALL)
    assert refused.value.code == "input-wrong"
