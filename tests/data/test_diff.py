"""What changed between two sets of records or two snapshots, against what was really changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.artifact import Artifact
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.diff import diff
from mofang.data.snapshot import snapshot


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.open(tmp_path / "shop")


def records(shop: Shop, folder: Path, rows: list[tuple[str, str]], name: str = "r") -> Artifact:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows), encoding="utf-8")
    return shop.run(collect, source=str(path), licence="own", text=("text",), label="label")


ROWS = [(f"第{number}条评论，{'好' if number % 2 else '坏'}", "ab"[number % 2]) for number in range(60)]


def changes(made: Artifact) -> list[dict[str, Any]]:
    with made.open("changes.parquet") as file:
        return pq.read_table(file).to_pylist()


def test_new_gone_and_relabelled(shop: Shop, tmp_path: Path) -> None:
    before = records(shop, tmp_path, ROWS, "one")
    after = records(shop, tmp_path, [(ROWS[0][0], "b"), *ROWS[3:], ("新的一条", "a")], "two")
    made = shop.run(diff, before, after)
    report = made.read_json("report.json")
    assert {name: report[name] for name in ("added", "removed", "relabelled", "moved")} == {"added": 1, "removed": 2, "relabelled": 1, "moved": 0}
    found = {row["change"]: row for row in changes(made)}
    assert (found["relabelled"]["label_before"], found["relabelled"]["label_after"]) == ("a", "b")
    assert found["added"]["label_after"] == "a" and found["added"]["label_before"] is None
    assert report["classes"]["before"] == {"a": 30, "b": 30}
    same = shop.run(diff, before, before).read_json("report.json")
    assert not any(same[name] for name in ("added", "removed", "relabelled", "moved"))


def test_a_grown_snapshot_moves_nothing(shop: Shop, tmp_path: Path) -> None:
    made = []
    for name, rows in (("one", ROWS), ("two", [*ROWS, *((f"更多{number}", "ab"[number % 2]) for number in range(40))])):
        kept = shop.run(clean, records(shop, tmp_path, rows, name)) / "kept"
        made.append(shop.run(snapshot, kept, task="text_classification", validation=0.2, test=0.2))
    report = shop.run(diff, *made).read_json("report.json")
    assert report["moved"] == 0 and report["added"] == 40 and report["removed"] == 0
    other = shop.run(snapshot, kept, task="text_classification", validation=0.2, test=0.2, seed=9)
    moved = shop.run(diff, made[1], other).read_json("report.json")["moved"]
    assert moved > 0, "another seed deals the records out anew"


def test_other_columns_and_licences_are_told(shop: Shop, tmp_path: Path) -> None:
    before = records(shop, tmp_path, ROWS, "one")
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "n": 1.5, "label": label}) for text, label in ROWS), encoding="utf-8")
    after = shop.run(collect, source=str(path), licence="MIT", text=("text",), numbers=("n",), label="label")
    report = shop.run(diff, before, after).read_json("report.json")
    assert report["columns"]["added"] == ["n"] and report["licences"] == {"before": ["own"], "after": ["MIT"]}
    assert report["edited_at_most"] == 60


def test_from_the_command_line(shop: Shop, tmp_path: Path, typed: Callable[..., Any]) -> None:
    shop.name("data", records(shop, tmp_path, ROWS, "one"))
    shop.name("data", records(shop, tmp_path, ROWS[:50], "two"))
    done = typed(tmp_path, "diff", "data@1", "data@2")
    assert done.status == 0 and "60 records" in done.out and "10" in done.out
    told = typed(tmp_path, "--lang", "zh", "diff", "data@1", "data@2")
    assert "消失" in told.out
    assert typed(tmp_path, "diff", "data@1", "data@2", "--json").json["removed"] == 10
    assert typed(tmp_path, "diff", "data@1", "dta").status == 1
