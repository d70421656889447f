"""What features bring: much where the answer lies in a date and a ratio, little on tables that are clean already.

docs/features.md shows the same figures over more splits.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.shop import Shop

SEEDS = (0, 1)


def write_loans(path: Path, rows: int = 1200) -> None:
    """Whether a loan goes bad follows from debt over income and from the month it was opened in; 5 % are noise."""
    chance = random.Random(3)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["income", "debt", "city", "opened", "bad"])
        for _ in range(rows):
            income, debt = chance.uniform(3000, 20000), chance.uniform(1000, 60000)
            year, month, day = chance.randint(2015, 2024), chance.randint(1, 12), chance.randint(1, 28)
            bad = debt / income > 2 + (month > 6)
            written = chance.choice([f"{year}年{month}月{day}日", f"{year}-{month:02}-{day:02}", f"{year}/{month}/{day}"])
            writer.writerow([f"{income:.2f}", f"{debt:.2f}", chance.choice(["上海", "成都", "西安"]), written,
                             "yes" if bad != (chance.random() < 0.05) else "no"])


def figures(shop: Shop, kept: Any, label: str, family: Any, settings: dict[str, Any] | None, seeds: Iterable[int],
            **cut: Any) -> tuple[float, float]:
    """Mean accuracy and log loss on the test part over splits."""
    from mofang.recipe import evaluate, export, features, snapshot, train

    found = []
    for seed in seeds:
        data = shop.run(snapshot, kept, task="table_classification", label=label, test=0.3, validation=0.15, seed=seed, **cut)
        if settings is not None:
            data = shop.run(features, data, **settings)
        graph = shop.run(export, shop.run(train, data, family=family))
        metrics = shop.run(evaluate, graph, data / "test", resamples=10).read_json("evaluation.json")["metrics"]
        found.append((metrics["accuracy"]["value"], metrics["log_loss"]["value"]))
    accuracy, loss = np.mean(found, axis=0).tolist()
    return accuracy, loss


@pytest.mark.parametrize(("family", "least"), [("linear", 0.01), ({"tag": "xgboost", "rounds": 60}, 0.04)], ids=["linear", "trees"])
def test_a_ratio_and_a_month_are_found_where_the_answer_lies(shop: Shop, tmp_path: Path, family: Any, least: float) -> None:
    from mofang.recipe import clean, collect

    write_loans(tmp_path / "loans.csv")
    records = shop.run(collect, source=str(tmp_path / "loans.csv"), licence="own", label="bad", numbers=("income", "debt"),
                       categories=("city", "opened"))
    kept = shop.run(clean, records) / "kept"
    inputs = ("income", "debt", "city", "opened")
    raw, _ = figures(shop, kept, "bad", family, None, SEEDS[:1], inputs=inputs)
    made, _ = figures(shop, kept, "bad", family, {"ratios": ("debt/income",), "outliers": "quantile"}, SEEDS[:1], inputs=inputs)
    assert made > raw + least


def test_on_a_clean_table_features_bring_little(shop: Shop, tmp_path: Path) -> None:
    """Diabetes (scikit-learn, 442 rows): is the progression above 140? Products of measurements make the answers surer, the
    accuracy hardly moves."""
    from mofang.recipe import clean, collect

    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_diabetes(scaled=False)
    with (tmp_path / "diabetes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*found.feature_names, "above"])
        writer.writerows([*map(float, row), "yes" if one > 140 else "no"] for row, one in zip(found.data, found.target, strict=True))
    records = shop.run(collect, source=str(tmp_path / "diabetes.csv"), licence="BSD-3-Clause", label="above",
                       numbers=tuple(found.feature_names))
    kept = shop.run(clean, records) / "kept"
    raw = figures(shop, kept, "above", "linear", None, SEEDS)
    made = figures(shop, kept, "above", "linear", {"products": ("bmi*bp", "bmi*s5", "age*sex")}, SEEDS)
    assert made[1] < raw[1] and abs(made[0] - raw[0]) < 0.05
