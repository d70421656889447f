"""Parity with features: a raw record with written dates and quantities, gaps and unseen categories takes the way of
training and the way of HTTP, and the graph is given the same bits."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from mofang.engine.arrays import arrays_digest
from mofang.engine.predictor import Predictor
from mofang.engine.task import read_columns
from tests.contract.test_parity import encoder_of
from tests.stories.terminal import Inside, Server

RAW = ("编号", "年龄", "收入", "欠款", "城市", "门店", "开户日", "包裹", "单价")
NUMBERS = ("编号", "年龄", "收入", "欠款")
SETTINGS: dict[str, Any] = {
    "ratios": ("欠款/收入",), "differences": ("收入-欠款",), "crosses": ("城市*包裹",), "bins": ("编号:4",), "missing": "median",
    "outliers": "iqr", "scale": "quantile", "rare": 0.02, "encode": "target",
}


@dataclass(frozen=True)
class Shipped:
    """A packaged model with features, the raw rows by their number, and the shop that sells it."""

    shop: Shop
    raw: dict[float, dict[str, Any]]
    made: dict[str, Artifact]


def write_rows(path: Path, rows: int = 300) -> dict[float, dict[str, Any]]:
    """Loans as an office writes them; the number of a row tells it from the others."""
    chance = random.Random(11)
    found = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*RAW, "违约"])
        for number in range(rows):
            year, month, day = chance.randint(2015, 2024), chance.randint(1, 12), chance.randint(1, 28)
            income, debt = round(chance.uniform(3000, 20000), 2), round(chance.uniform(500, 60000), 2)
            row = [float(number), chance.choice([None, float(chance.randint(18, 70))]), income, debt,
                   chance.choice(["上海", "成都", "西安　Ｂ区"]), f"店{chance.randint(0, 60)}",
                   chance.choice([f"{year}年{month}月{day}日", f"{year}-{month:02}-{day:02}", f"{day:02}/{month:02}/{year}",
                                  f"{year}/{month}/{day} 下午3点20分", ""]),
                   chance.choice(["3.5kg", "３５００ g", "5斤", "700克", ""]), chance.choice(["￥1,234.50", "1.2万元", "980", "35元"])]
            writer.writerow(["" if one is None else one for one in row] + ["是" if debt / income > 3 else "否"])
            found[float(number)] = dict(zip(RAW, row, strict=True))
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    from mofang.recipe import clean, collect, evaluate, export, features, package, snapshot, train

    folder = tmp_path_factory.mktemp("features")
    raw = write_rows(folder / "loans.csv")
    shop = Shop.open(folder / "shop")
    categories = tuple(name for name in RAW if name not in NUMBERS)
    made = {"records": shop.run(collect, source=str(folder / "loans.csv"), licence="own", label="违约", numbers=NUMBERS,
                                categories=categories)}
    made["snapshot"] = shop.run(snapshot, shop.run(clean, made["records"]) / "kept", task="table_classification", label="违约",
                                inputs=RAW, validation=0.2, test=0.2)
    made["features"] = shop.run(features, made["snapshot"], **SETTINGS)
    made["train"] = shop.run(train, made["features"], family={"tag": "xgboost", "rounds": 30})
    made["export"] = shop.run(export, made["train"])
    evidence = shop.run(evaluate, made["export"], made["features"] / "test", resamples=20)
    made["package"] = shop.run(package, made["export"], evidence, seconds=0.05)
    return Shipped(shop, raw, made)


@pytest.fixture(scope="module")
def sold(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    import shutil

    folder = tmp_path_factory.mktemp("sold")
    shutil.copytree(shipped.shop.path, folder / "shop")
    Shop(folder / "shop").name("loans", Shop(folder / "shop").find(shipped.made["package"].entry, "package"))
    terminal = Inside(folder)
    terminal.type("customer", "new", "tester")
    token = terminal.token("tester", "--test")
    with Server(terminal, "loans") as server:
        yield server, token


def rows_of(shipped: Shipped, part: str) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(shipped.made["features"] / part).batches() for row in batch.rows()]


def test_every_operator_is_at_work(shipped: Shipped) -> None:
    about = shipped.made["package"].read_json("package.json")
    assert list(dict.fromkeys(spec["name"] for spec in about["operators"])) == [
        "text-normalise", "date-parts", "unit-repair", "number-pairs", "category-cross", "number-bin", "missing-fill",
        "number-clip", "number-scale", "category-rare", "category-encode"]
    assert [one["name"] for one in about["inputs"]] == list(RAW), "a request gives the raw columns"
    assert not {one["name"] for one in read_columns(about)} & {"开户日", "包裹", "单价", "城市"}


def test_training_and_http_give_the_graph_the_same_bits(shipped: Shipped, sold: tuple[Server, str]) -> None:
    """On rows that training did not encode apart: validation and test."""
    server, token = sold
    names = [one["name"] for one in read_columns(shipped.made["train"].read_json("about.json"))]
    rows = rows_of(shipped, "validation") + rows_of(shipped, "test")
    assert len(rows) > 60
    encoder = encoder_of(shipped.made["train"])
    expected = [arrays_digest(encoder.encode([{name: row[name] for name in names}])) for row in rows]
    together = arrays_digest(encoder.encode([{name: row[name] for name in names} for row in rows]))
    body = {"records": [shipped.raw[row["编号"]] for row in rows]}
    assert server.predict("loans", body, token, mofang_arrays="1").json["arrays_sha256"] == together
    for row, digest in list(zip(rows, expected, strict=True))[:5]:
        assert server.predict("loans", shipped.raw[row["编号"]], token, mofang_arrays="1").json["arrays_sha256"] == digest


def test_training_rows_differ_only_in_what_was_cross_fitted(shipped: Shipped) -> None:
    """Otherwise a row would be told its own label."""
    from mofang.data.operators import apply_operators

    rows = rows_of(shipped, "train")
    operators = shipped.made["package"].read_json("package.json")["operators"]
    served = apply_operators(operators, [shipped.raw[row["编号"]] for row in rows])
    apart = {name for row, one in zip(rows, served, strict=True) for name in row
             if name in one and name not in RAW and row[name] != one[name]}
    assert apart and all(name.endswith(".share") for name in apart)


@pytest.mark.parametrize("change", [
    {"城市": "从未见过"}, {"城市": None}, {"开户日": "not a date"}, {"开户日": None}, {"包裹": "7 lightyears"}, {"年龄": None},
    {"收入": 0.0}, {"收入": None, "欠款": None}, {"单价": 35}, {"门店": "", "包裹": ""}, {"收入": 1e300, "欠款": -1e300}],
    ids=str)
def test_what_training_never_saw_gets_an_answer(shipped: Shipped, change: dict[str, Any]) -> None:
    predictor = Predictor(shipped.made["package"])
    records, _ = predictor.parse(shipped.raw[3.0] | change)
    answer = predictor.predict(records)[0]
    assert answer["label"] in ("是", "否") and sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
    together = predictor.outputs([*records, *predictor.parse(shipped.raw[5.0])[0]])["probabilities"][0]
    assert (predictor.outputs(records)["probabilities"][0] == together).all()


def test_an_absent_raw_column_is_refused_in_words(shipped: Shipped) -> None:
    predictor = Predictor(shipped.made["package"])
    with pytest.raises(MofangError) as caught:
        predictor.parse({name: value for name, value in shipped.raw[3.0].items() if name != "开户日"})
    assert caught.value.code == "value-missing"


def test_a_graph_that_lost_an_operator_is_not_packaged(shipped: Shipped) -> None:
    from mofang.serve.parity import check_features, check_lineage

    about = shipped.made["export"].read_json("about.json")
    fewer = [spec for spec in about["operators"] if spec["name"] != "unit-repair"]
    with pytest.raises(MofangError) as caught:
        check_lineage(shipped.shop, shipped.made["export"].entry, fewer)
    assert caught.value.code == "operator-lost"
    with pytest.raises(MofangError) as caught:
        check_features({**about, "operators": fewer})
    assert caught.value.code == "feature-not-made"


def test_an_older_model_answers_the_records_of_a_newer_snapshot(shipped: Shipped) -> None:
    """Each makes its own features of the raw columns, so that both can be compared."""
    from mofang.recipe import compare, export, features, train

    other = shipped.shop.run(features, shipped.made["snapshot"], scale="standard", encode="keep")
    graph = shipped.shop.run(export, shipped.shop.run(train, other, family="linear"))
    found = shipped.shop.run(compare, graph, shipped.made["export"], other / "test", resamples=20)
    assert found.read_json("comparison.json")["rows"] > 20


def test_features_of_features_are_refused(shipped: Shipped) -> None:
    from mofang.recipe import features

    with pytest.raises(MofangError) as caught:
        shipped.shop.run(features, shipped.made["features"])
    assert caught.value.code == "features-twice"


def test_the_exported_example_answers_as_the_model_does(shipped: Shipped, tmp_path: Path) -> None:
    """Without Mofang: the operators' own code lies beside it."""
    import os
    import shutil
    import subprocess
    import sys

    from mofang.takeout import take_out

    shutil.copytree(shipped.shop.path, tmp_path / "shop")
    shop = Shop.open(tmp_path / "shop")
    shop.name("sold", shop.find(shipped.made["package"].entry))
    place = take_out(shop, tmp_path / "out").place / "models" / "sold@1"
    assert all("import mofang" not in path.read_text("utf-8") and "from mofang" not in path.read_text("utf-8") for path in place.rglob("*.py"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "example.py"], cwd=place, env=environment, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0 and "questions answered as recorded" in done.stdout, done.stderr
