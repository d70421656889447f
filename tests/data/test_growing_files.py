"""A glob of files that grow month by month: columns that come and go, headers that are missing, rows sent twice."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.records import RecordReader
from mofang.data.snapshots.growth import grown
from mofang.data.sources.files import source_files

HEADER = "评论,标签,店铺\n"


def rows(first: int, last: int) -> str:
    return "".join(f"第{i}条评论写得很长很长,{'好评' if i % 2 else '差评'},店{i % 3}\n" for i in range(first, last))


def collected(shop: Shop, folder: Path, **how: object):  # type: ignore[no-untyped-def]
    return shop.run(collect, source=str(folder / "sales-*.csv*"), licence="own", label="标签", text=("评论",), **how)


def texts(records) -> list[str]:  # type: ignore[no-untyped-def]
    return [text for batch in RecordReader(records).batches() for text in batch.column("评论")]


def test_months_are_added_and_only_new_rows_are_new(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "sales-01.csv").write_text(HEADER + rows(0, 40), encoding="gb18030")
    first = collected(shop, tmp_path)
    (tmp_path / "sales-02.csv").write_text(rows(40, 70), encoding="utf-8")  # without a header
    (tmp_path / "sales-03.csv.gz").write_bytes(gzip.compress((HEADER + rows(60, 90) + HEADER + rows(90, 95)).encode()))
    second = collected(shop, tmp_path)
    assert [file.name for file in source_files(str(tmp_path / "sales-*"))] == ["sales-01.csv", "sales-02.csv", "sales-03.csv.gz"]
    assert second.measures["rows"] == 105 and not second.measures["rejected"]
    assert grown(first, second).new == 65 and not grown(first, second).gone
    cleaned = shop.run(clean, second, near_duplicate=0.0)
    assert cleaned.measures["dropped"] == {"duplicate": 10} and len(set(texts(cleaned / "kept"))) == 95


def test_columns_that_some_files_lack(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "sales-1.csv").write_text("评论,标签\n" + "".join(f"第{i}条,{i % 2}\n" for i in range(20)), encoding="utf-8")
    (tmp_path / "sales-2.csv").write_text("店铺,标签,评论\n" + "".join(f"甲,{i % 2},第{i}条\n" for i in range(20, 40)), encoding="utf-8")
    made = collected(shop, tmp_path, keep=("店铺",))
    assert made.measures["rows"] == 40 and made.measures["files_without"] == {"店铺": 1}
    batch = next(RecordReader(made).batches())
    assert batch.column("店铺")[0] is None and "甲" in batch.column("店铺")
    with pytest.raises(MofangError) as caught:
        collected(shop, tmp_path, keep=("店名",))
    assert caught.value.code == "column-missing" and caught.value.values["nearest"] == "店铺"


def test_a_later_file_with_other_columns_is_named(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "sales-1.csv").write_text(HEADER + rows(0, 40), encoding="utf-8")
    (tmp_path / "sales-2.csv").write_text("name,age,height,city\n" + "a,1,2,x\nb,2,3,y\n" * 5, encoding="utf-8")
    with pytest.raises(MofangError) as caught:
        collected(shop, tmp_path)
    assert caught.value.code == "column-missing" and caught.value.values["file"] == "sales-2.csv"
    (tmp_path / "sales-2.csv").write_text("年龄,身高,体重\n" + "1,2,3\n2,3,4\n" * 5, encoding="utf-8")
    with pytest.raises(MofangError):
        collected(shop, tmp_path)


def test_a_file_of_one_row_and_an_empty_one(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "sales-1.csv").write_text(HEADER + rows(0, 40), encoding="utf-8")
    (tmp_path / "sales-2.csv").write_text(HEADER, encoding="utf-8")
    (tmp_path / "sales-3.csv").write_text(rows(40, 41), encoding="gb18030")
    (tmp_path / "sales-4.csv").write_text("")
    made = collected(shop, tmp_path)
    assert made.measures["rows"] == 41 and made.measures["rejected"] == {"file-empty": 1}
