"""Faults that were planted are found, and records without them get a good report."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.data.assess import assess
from mofang.data.assessing.change import stability
from mofang.data.collect import collect
from mofang.data.pixels import png_of
from mofang.data.snapshot import snapshot

GOOD = ("很好", "喜欢", "满意", "推荐", "干净", "热情", "漂亮", "值得")
BAD = ("很差", "失望", "糟糕", "退货", "肮脏", "冷漠", "难看", "后悔")
THINGS = ("房间", "早餐", "屏幕", "键盘", "故事", "翻译", "服务", "物流", "价格", "封面", "电池", "声音")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.open(tmp_path_factory.mktemp("shop") / "shop")


def checks(made: Artifact) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in made.read_json("report.json")["checks"]}


def suspects(made: Artifact) -> list[dict[str, Any]]:
    with made.open("suspects.jsonl") as file:
        return [json.loads(line) for line in file]


def table(path: Path, rows: int = 2000, seed: int = 5) -> set[int]:
    """A table of two classes with 1 % flipped labels, a column that leaks, and one of which 40 % is missing; the flipped rows."""
    generator = random.Random(seed)
    flipped = set(generator.sample(range(rows), rows // 100))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "holes", "leak", "city", "class"])
        for number in range(rows):
            yes = number % 2
            label = yes ^ (number in flipped)
            writer.writerow([round(generator.gauss(2.4 * yes, 1), 4), round(generator.gauss(-2.4 * yes, 1), 4),
                             "" if generator.random() < 0.4 else round(generator.gauss(0, 1), 3), 10 + label + generator.random() / 10,
                             generator.choice(["上海", "成都"]), ["否", "是"][label]])
    return flipped


def reviews(path: Path, rows: int = 400) -> None:
    generator = random.Random(7)
    lines = [{"text": "，".join(generator.choice(THINGS) + generator.choice((GOOD, BAD)[number % 2]) for _ in range(4)) + f"{number}",
              "label": "ab"[number % 2], "shop": "甲乙丙"[number % 3]} for number in range(rows)]
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in lines), encoding="utf-8")


def test_the_planted_faults_of_a_table_are_found(shop: Shop, tmp_path: Path) -> None:
    flipped = table(tmp_path / "t.csv")
    numbers = ("a", "b", "holes", "leak")
    records = shop.run(collect, source=str(tmp_path / "t.csv"), licence="own", label="class", numbers=numbers, categories=("city",))
    found = checks(shop.run(assess, records))
    assert found["suspicious"]["facts"]["leaking"] == ["leak"] and found["suspicious"]["verdict"] == "bad"
    assert found["completeness"]["facts"]["mostly_missing"] in ([], ["holes"]) and found["completeness"]["rows"][0]["column"] == "holes"
    assert found["completeness"]["verdict"] == "bad"
    honest = shop.run(collect, source=str(tmp_path / "t.csv"), licence="own", label="class", numbers=("a", "b"), categories=("city",))
    made = shop.run(assess, honest)
    values = {(row["a"], row["b"]) for row in _rows(tmp_path / "t.csv", flipped)}
    named = {one["id"] for one in suspects(made)}
    hits = sum((row["a"], row["b"]) in values for row in _records(honest) if row["id"] in named)
    assert hits >= 0.7 * len(flipped), f"{hits} of {len(flipped)} flipped labels"
    assert len(named) < 120, "and not by doubting everything"


def _rows(path: Path, places: set[int]) -> list[dict[str, float]]:
    with path.open(encoding="utf-8") as file:
        return [{name: float(row[name]) for name in ("a", "b")} for place, row in enumerate(csv.DictReader(file)) if place in places]


def _records(records: Artifact) -> list[dict[str, Any]]:
    from mofang.data.records import RecordReader

    return [row for batch in RecordReader(records).batches() for row in batch.rows()]


def test_copies_across_the_parts_are_found(shop: Shop, tmp_path: Path) -> None:
    reviews(tmp_path / "r.jsonl")
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    changed = [line.replace('", "label"', '！", "label"') for line in lines[:40]]    # near copies, not exact ones
    (tmp_path / "r.jsonl").write_text("\n".join([*lines, *changed]), encoding="utf-8")
    records = shop.run(collect, source=str(tmp_path / "r.jsonl"), licence="own", text=("text",), label="label", keep=("shop",))
    parts = shop.run(snapshot, records, task="text_classification", validation=0.2, test=0.2)    # not cleaned before
    found = checks(shop.run(assess, parts))
    assert found["leakage"]["facts"]["near_in_sample"] >= 8 and found["leakage"]["verdict"] != "good"
    assert found["duplicates"]["facts"]["near_in_sample"] >= 60


def test_a_good_source_gets_a_good_report(shop: Shop, tmp_path: Path) -> None:
    reviews(tmp_path / "r.jsonl")
    records = shop.run(collect, source=str(tmp_path / "r.jsonl"), licence="own", text=("text",), label="label", keep=("shop",))
    made = shop.run(assess, records, by=("shop",))
    about = made.read_json("report.json")
    assert about["score"] > 85, {name: one["score"] for name, one in checks(made).items()}
    assert {row["source"] for row in checks(made)["sources"]["rows"]} == set("甲乙丙")
    again = shop.run(assess, records, by=("shop",), sheet=101)
    sheets = [[json.loads(line) for line in one.open("sheet.jsonl")] for one in (made, again)]
    assert len(sheets[0]) == 100 and {row["id"] for row in sheets[0]} < {row["id"] for row in sheets[1]} | {row["id"] for row in sheets[0]}
    assert sheets[0][0].keys() >= {"id", "text", "label", "passes", "remark"}


def test_personal_data_that_is_left_is_counted_and_not_shown(shop: Shop, tmp_path: Path) -> None:
    reviews(tmp_path / "r.jsonl", 200)
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows[:20]:
        row["text"] += " 请致电13800138000"
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows), encoding="utf-8")
    records = shop.run(collect, source=str(tmp_path / "p.jsonl"), licence="own", text=("text",), label="label")
    found = checks(shop.run(assess, records))["personal"]
    assert found["facts"]["records_with"] == 20 and found["verdict"] == "bad"
    assert "13800138000" not in json.dumps(found)


def test_drift_is_told_from_growth(shop: Shop, tmp_path: Path) -> None:
    made = {}
    for name, seed, shift in (("old", 5, 0.0), ("same", 6, 0.0), ("other", 7, 1.5)):
        generator = np.random.default_rng(seed)
        rows = [{"n": float(generator.normal(shift)), "c": str(generator.integers(3)), "label": "ab"[int(generator.integers(2))]} for _ in range(600)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(one) for one in rows), encoding="utf-8")
        made[name] = shop.run(collect, source=str(tmp_path / f"{name}.jsonl"), licence="own", numbers=("n",), categories=("c",), label="label")
    same, other = (checks(shop.run(assess, made[name], made["old"]))["drift"] for name in ("same", "other"))
    assert same["verdict"] == "good" and other["verdict"] == "bad" and other["facts"]["drifting"] == ["n"]


def test_stability_index_by_hand() -> None:
    assert stability({"a": 50, "b": 50}, {"a": 50, "b": 50}) == 0
    assert stability({"a": 50, "b": 50}, {"a": 80, "b": 20}) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), abs=1e-4)


def test_pictures_are_assessed_and_shown(shop: Shop, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for number in range(80):
        dark = number % 2
        place = tmp_path / "pictures" / "浅深"[dark] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png_of([str(one) for one in generator.integers(120 * (1 - dark), 120 + 120 * (1 - dark), 64)], 8))
    records = shop.run(collect, source=str(tmp_path / "pictures"), licence="own")
    made = shop.run(assess, records)
    found = checks(made)
    assert found["label_errors"]["facts"]["held_out_accuracy"] > 0.95
    with made.open("report.html") as file:
        assert file.read().count(b"data:image/png;base64,") == 24


def test_the_page_runs_nothing_of_a_record(shop: Shop, tmp_path: Path) -> None:
    evil = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "</style><script>", "javascript:alert(1)"]
    rows = [{"text": f"{evil[number % 5]} {number} 号 {GOOD[number % 8]}", "label": evil[number % 2]} for number in range(120)]
    (tmp_path / "evil.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows), encoding="utf-8")
    records = shop.run(collect, source=str(tmp_path / "evil.jsonl"), licence="own", text=("text",), label="label")
    made = shop.run(assess, records)
    with made.open("report.html") as file:
        text = file.read().decode()
    assert not re.search(r"<(script|img src=x|iframe)", text) and "49 " not in text and "default-src 'none'" in text
    assert "://" not in re.sub(r'xmlns(:\w+)?="http://www\.w3\.org[^"]*"', "", text)


@pytest.mark.parametrize("rows", [[{"text": "一条", "label": "a"}], [{"text": "一条"}, {"text": "两条"}]])
def test_a_handful_of_records_gets_a_report_too(shop: Shop, tmp_path: Path, rows: list[dict[str, str]]) -> None:
    (tmp_path / "few.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows), encoding="utf-8")
    records = shop.run(collect, source=str(tmp_path / "few.jsonl"), licence="own", text=("text",))
    assert checks(shop.run(assess, records))["label_errors"]["score"] is None


def test_from_the_command_line(shop: Shop, tmp_path: Path, typed: Callable[..., Any]) -> None:
    reviews(tmp_path / "r.jsonl", 120)
    records = shop.run(collect, source=str(tmp_path / "r.jsonl"), licence="own", text=("text",), label="label")
    shop.name("reviews-in", records)
    done = typed(tmp_path, "--shop", str(shop.path), "assess", "reviews-in", "--sheet", "10", "--name", "reviews-report")
    assert done.status == 0 and "report.html" in done.out, done
