"""Snapshot: stable sides, whole groups, newest tested, small classes and missing labels set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.records import RecordReader, content_digest
from mofang.data.snapshot import Snapshot, snapshot
from mofang.data.snapshots.sides import PARTS
from mofang.data.snapshots.times import seconds_of
from tests.data.pictures import write_pictures

ROWS = [
    (
        f"review number {i * 7919 % 10007} of this fine house",
        ["bad", "good", "so so"][i % 3],
        f"u{i % 40}",
        f"2024-{i % 12 + 1:02d}-15",
    )
    for i in range(600)
]


def collected(shop: Shop, path: Path, rows: list[tuple[str, ...]], **more: Any) -> Artifact:
    lines = ["text,label,user,day", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    records = shop.run(
        collect,
        source=str(path),
        licence="own",
        label="label",
        text=("text",),
        group="user",
        time="day",
        **more,
    )
    return shop.run(clean, records, near_duplicate=0.0) / "kept"


def sides(made: Snapshot, column: str = "text") -> dict[str, str]:
    return {
        value: part
        for part in PARTS
        for batch in RecordReader(made / part).batches()
        for value in batch.column(column)
    }


def test_parts_labels_and_counts(shop: Shop, tmp_path: Path) -> None:
    made = shop.run(snapshot, collected(shop, tmp_path / "a.csv", ROWS), task="text_classification")
    about = made.read_json("about.json")
    assert (about["label"], about["labels"], about["inputs"]) == (
        "label",
        ["bad", "good", "so so"],
        [{"name": "text", "role": "text"}],
    )
    assert about["operators"][0]["name"] == "text-normalise" and about["licences"] == ["own"]
    rows = {part: RecordReader(made / part).rows for part in PARTS}
    assert sum(rows.values()) == 600 and 40 < rows["test"] < 85 and 40 < rows["validation"] < 85
    assert {part: about["counts"][part]["rows"] for part in PARTS} == rows == made.measures["counts"]
    assert RecordReader(made / "train").schema.names == ["id", "text", "label"]
    assert (made / "test").kind == "records"


def test_an_old_record_never_changes_sides(shop: Shop, tmp_path: Path) -> None:
    before = sides(shop.run(snapshot, collected(shop, tmp_path / "a.csv", ROWS), task="t"))
    more = [(f"a new review {i} with other words", "good", "u1", "2025-01-01") for i in range(50)]
    relabelled = [
        (text, "good" if i < 30 else label, user, day) for i, (text, label, user, day) in enumerate(ROWS)
    ]
    after = sides(
        shop.run(snapshot, collected(shop, tmp_path / "b.csv", [*more, *reversed(relabelled)]), task="t")
    )
    assert {text: after[text] for text in before} == before


def test_two_shops_split_alike(shop: Shop, tmp_path: Path) -> None:
    other = Shop.open(tmp_path / "other")
    first, second = (
        sides(
            shop.run(snapshot, collected(one, tmp_path / "a.csv", ROWS), task="t")
            if one is shop
            else other.run(snapshot, collected(other, tmp_path / "a.csv", ROWS), task="t")
        )
        for one in (shop, other)
    )
    assert first == second
    assert sides(shop.run(snapshot, collected(shop, tmp_path / "a.csv", ROWS), task="t", seed=1)) != first


def test_a_group_stays_together(shop: Shop, tmp_path: Path) -> None:
    made = shop.run(snapshot, collected(shop, tmp_path / "a.csv", ROWS), task="t", group="user", test=0.2)
    users = {
        part: {user for batch in RecordReader(made / part).batches() for user in batch.column("user")}
        for part in PARTS
    }
    assert not users["train"] & users["test"] and not users["train"] & users["validation"] and users["test"]


def test_the_newest_are_tested(shop: Shop, tmp_path: Path) -> None:
    rows = [*ROWS[:500], ("a row without any time at all", "good", "u1", "soon")]
    made = shop.run(
        snapshot, collected(shop, tmp_path / "a.csv", rows), task="t", time="day", test=0.2, validation=0.2
    )
    days = {
        part: [day for batch in RecordReader(made / part).batches() for day in batch.column("day")]
        for part in PARTS
    }
    assert max(days["train"]) <= min(days["validation"]) and max(days["validation"]) <= min(days["test"])
    assert made.measures["rejected"] == {"time-missing": 1}


def test_missing_labels_and_small_classes_are_set_aside(shop: Shop, tmp_path: Path) -> None:
    rows = [
        *ROWS[:200],
        ("one of a kind", "rare", "u1", ""),
        ("no label here", "", "u2", ""),
        ("nor is here", " ", "u3", ""),
    ]
    made = shop.run(snapshot, collected(shop, tmp_path / "a.csv", rows), task="t")
    assert made.measures["rejected"] == {"label-missing": 2, "class-too-small": 1}
    rejected = pq.read_table(made.path("rejected.parquet")).to_pylist()
    assert {row["text"]: row["reason"] for row in rejected}["one of a kind"] == "class-too-small"
    assert "rare" not in made.read_json("about.json")["labels"]


@pytest.mark.parametrize(
    ("rows", "settings", "code"),
    [
        ([(text, "good", user, day) for text, _, user, day in ROWS], {}, "one-class"),
        ([(text, "", user, day) for text, _, user, day in ROWS], {}, "no-labelled-records"),
        (ROWS[:12], {"min_per_class": 1, "test": 0.001}, "part-empty"),
        (ROWS, {"validation": 0.5, "test": 0.5}, "split-too-large"),
        (ROWS, {"label": "lable"}, "column-missing"),
        (ROWS, {"inputs": ("user",)}, "input-not-usable"),
        (ROWS, {"group": "usr"}, "column-missing"),
        ([(text, label, "u1", day) for text, label, _, day in ROWS], {"group": "user"}, "groups-too-few"),
    ],
)
def test_first_day_mistakes(
    shop: Shop, tmp_path: Path, rows: Any, settings: dict[str, Any], code: str
) -> None:
    kept = collected(shop, tmp_path / "a.csv", rows)
    with pytest.raises(MofangError) as caught:
        shop.run(snapshot, kept, task="t", **settings)
    assert caught.value.code == code


def test_images_go_the_same_way(shop: Shop, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", {"猫": 60, "狗": 60})
    kept = shop.run(clean, shop.run(collect, source=str(folder), licence="own")) / "kept"
    made = shop.run(snapshot, kept, task="image_classification", validation=0.2, test=0.2)
    assert made.read_json("about.json")["labels"] == ["狗", "猫"]
    batch = next(RecordReader(made / "train").batches())
    assert batch.media["image"][0] == (folder / batch.column("image")[0]).read_bytes()
    assert content_digest(made / "train") != content_digest(made / "test")


def test_equal_rows_of_a_table_are_spread(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "colour,size,y\n"
        + "".join(f"{['red', 'blue'][i % 2]},{['s', 'm', 'l'][i % 3]},{i % 5 % 2}\n" for i in range(600))
    )
    records = shop.run(collect, source=str(path), licence="own", label="y", categories=("colour", "size"))
    made = shop.run(
        snapshot, shop.run(clean, records, duplicates=False) / "kept", task="table_classification"
    )
    assert 30 < made.measures["counts"]["test"] < 95


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("1970/1/2 01:00", 90000.0),
        ("1970年1月2日", 86400.0),
        ("1970-01-02T01:00:00+01:00", 86400.0),
        ("1700000000", 1.7e9),
        ("1700000000000", 1.7e9),
        ("3/4/2024", None),
        ("2024-13-01", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
