"""Collect: from every kind of source to records, with roles, licence, origin and every bad row accounted
for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError, wordings
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.records import RecordReader, Records
from mofang.data.sources.files import file_digests, source_files

LINES = [
    "content,stars,user_id",
    *(f"“the room number {i} was clean and quiet”,{i % 5 + 1},{1000 + i * 7}" for i in range(100)),
]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def rows_of(records: Records) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(records).batches() for row in batch.rows()]


def refused(shop: Shop, code: str, **settings: Any) -> MofangError:
    with pytest.raises(MofangError) as caught:
        shop.run(collect, licence="own", **settings)
    assert caught.value.code == code
    assert caught.value.worded("zh") and "{" not in caught.value.worded("zh")[0]
    return caught.value


def test_a_csv_with_named_columns(shop: Shop, reviews: Path) -> None:
    records = shop.run(
        collect, source=str(reviews), licence="CC-BY-4.0", origin="our site", label="stars", text=("content",)
    )
    about = records.read_json("about.json")
    assert about["columns"] == {"content": "text", "stars": "label"} and about["rows"] == 100
    assert (about["licence"], about["origin"], about["source"]["count"]) == ("CC-BY-4.0", "our site", 1)
    assert records.licences == ("CC-BY-4.0",)
    first = rows_of(records)[0]
    assert (first["content"], first["stars"]) == ("“the room number 0 was clean and quiet”", "1") and len(
        first["id"]
    ) == 32


def test_columns_are_guessed_where_none_are_named(shop: Shop, reviews: Path) -> None:
    records = shop.run(collect, source=str(reviews), licence="own", label="stars")
    assert records.read_json("about.json")["columns"] == {
        "content": "text",
        "stars": "label",
    }  # user_id is an id


def test_a_table_with_numbers_categories_and_missing_values(shop: Shop, tmp_path: Path) -> None:
    lines = [
        "age,city,id,ill",
        *(f"{20 + i % 50}.5,{['北京', '上海 ', ''][i % 3]},{i},{i % 2}" for i in range(60)),
        "NA,北京,x,1",
        "old,北京,y,1",
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    records = shop.run(
        collect,
        source=str(path),
        licence="own",
        label="ill",
        numbers=("age",),
        categories=("city",),
        keep=("id",),
    )
    rows = rows_of(records)
    assert (rows[0]["age"], rows[1]["city"], rows[2]["city"], rows[60]["age"]) == (20.5, "上海", None, None)
    assert records.measures["rejected"] == {"not-a-number": 1} and rows[0]["source_id"] == "0"
    rejected = pq.read_table(records.path("rejected.parquet")).to_pylist()
    assert rejected == [
        {"file": "t.csv", "row": 63, "reason": "not-a-number", "detail": "age", "value": "old"}
    ]


def test_an_unchanged_source_is_not_read_again_and_a_changed_one_is(shop: Shop, reviews: Path) -> None:
    first = shop.run(collect, source=str(reviews), licence="own", label="stars")
    again = shop.run(collect, source=str(reviews), licence="own", label="stars")
    assert again.digest == first.digest and again.entry != first.entry
    ids = [row["id"] for row in rows_of(first)]
    lines = [LINES[0], "a wholly new row with other words,2,1", *LINES[1:]]
    lines[5] = lines[5].replace(",4,", ",5,")
    reviews.write_text("\n".join(lines) + "\n", encoding="utf-8")
    changed = shop.run(collect, source=str(reviews), licence="own", label="stars")
    assert [row["id"] for row in rows_of(changed)][1:] == ids


def test_the_digest_cache_sees_a_change_of_equal_size(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one")
    os.utime(path, (1_000_000, 1_000_000))
    first = file_digests(source_files(str(path)), tmp_path / "cache")
    assert file_digests(source_files(str(path)), tmp_path / "cache") == first
    path.write_text("two")
    assert file_digests(source_files(str(path)), tmp_path / "cache") != first


def test_globs_and_several_files(shop: Shop, tmp_path: Path) -> None:
    for month in (1, 2):
        (tmp_path / f"2024-0{month}.csv").write_text(
            "text,label\n" + "".join(f"row {month} {i} is a text,{i % 2}\n" for i in range(30))
        )
    records = shop.run(collect, source=str(tmp_path / "2024-*.csv"), licence="own", label="label")
    about = records.read_json("about.json")["source"]
    assert about["count"] == 2 and [file["name"] for file in about["files"]] == ["2024-01.csv", "2024-02.csv"]
    assert records.measures["rows"] == 60


def test_files_inside_an_installed_package(shop: Shop) -> None:
    records = shop.run(
        collect,
        source="package:sklearn/datasets/data/breast_cancer.csv",
        licence="BSD-3-Clause",
        skip_lines=1,
        header="no",
        label="column_31",
    )
    about = records.read_json("about.json")
    assert about["rows"] == 569 and list(about["columns"].values()).count("number") == 30


def test_first_day_mistakes_end_in_a_clear_error(shop: Shop, reviews: Path, tmp_path: Path) -> None:
    assert (
        refused(shop, "source-missing", source=str(tmp_path / "review.csv")).values["nearest"]
        == "reviews.csv"
    )
    refused(shop, "package-missing", source="package:no_such_package_here/x")
    refused(shop, "source-missing", source="package:sklearn/../pip/x")
    assert refused(shop, "column-missing", source=str(reviews), label="star").values["nearest"] == "stars"
    refused(shop, "delimiter-wrong", source=str(reviews), label="stars", delimiter=";")
    refused(shop, "encoding-unknown", source=str(reviews), encoding="gb-nonsense")
    (tmp_path / "nothing").mkdir()
    refused(shop, "source-empty", source=str(tmp_path / "nothing"))
    (tmp_path / "doubled.csv").write_text("text,text,label\na b c,b,x\nd e f,c,y\n")
    refused(shop, "column-doubled", source=str(tmp_path / "doubled.csv"), label="label", text=("text",))
    (tmp_path / "nul.bin").write_bytes(os.urandom(5000))
    refused(shop, "format-unknown", source=str(tmp_path / "nul.bin"))
    (tmp_path / "ids.csv").write_text("id,label\n" + "".join(f"{i},x\n" for i in range(30)))
    refused(shop, "no-inputs", source=str(tmp_path / "ids.csv"), label="label")


def test_an_empty_file_and_a_header_alone(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    refused(shop, "too-many-rejected", source=str(tmp_path / "empty.csv"), label="label")
    (tmp_path / "header.csv").write_text("text,label\n")
    refused(shop, "no-records", source=str(tmp_path / "header.csv"), label="label")


def test_too_many_bad_rows_stop_the_run_and_say_which(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(
        b"text,label\n" + b"a good line here,x\n" * 90 + b"ragged\n" * 6 + b"\xff\xfe\xfa bad bytes,x\n" * 4
    )
    error = refused(
        shop, "too-many-rejected", source=str(path), label="label", text=("text",), encoding="utf-8"
    )
    assert (error.values["rejected"], error.values["total"]) == (10, 100)
    assert error.values["reasons"] == "ragged-row 6, undecodable 4"
    records = shop.run(
        collect,
        source=str(path),
        licence="own",
        label="label",
        text=("text",),
        encoding="utf-8",
        bad_share=0.1,
    )
    assert (
        records.measures["rejected"] == {"ragged-row": 6, "undecodable": 4} and records.measures["rows"] == 90
    )


def test_every_wording_fills_in_both_languages() -> None:
    import tomllib

    import mofang.data as data

    path = Path(data.__file__).parent / "wording.toml"
    source = "".join(one.read_text(encoding="utf-8") for one in path.parent.rglob("*.py"))
    for code, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        assert f'"{code}"' in source, f"{code} is worded and never raised"
        assert len(entry["en"]) == len(entry["zh"]) == 2
        assert wordings()[code] == entry
