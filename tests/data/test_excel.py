"""Spreadsheets as people keep them: titles, merged cells, several sheets, rounded numbers, and files that mean harm."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.columns import rounded_numbers
from mofang.data.readers.excel import look_at_sheets
from mofang.data.sources.files import source_files
from mofang.data.sources.formats import detect_format
from tests.data.compound import xls
from tests.data.test_readers import read


def book(path: Path, **sheets: list[list[Any]]) -> Path:
    """A workbook with these sheets, cell by cell."""
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


ORDERS = [["订单号", "评论", "金额", "日期"], *([f"A{i}", f"第{i}条评论", i * 1.5, datetime.date(2024, 1, 1 + i % 28)] for i in range(40))]


def read_about(shop: Shop, path: Path) -> dict[str, Any]:
    """What collecting wrote down of its source."""
    made = shop.run(collect, source=str(path), licence="own", categories=("订单号",))
    found: dict[str, Any] = made.read_json("about.json")["source"]
    return found


def test_the_sheet_with_the_table_is_read_and_its_header_found_below_titles(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "销售.xlsx"
    made = openpyxl.load_workbook(book(path, 说明=[["本表由财务部制作"]] * 60, 数据=[[], [None, "2024 年销售明细"], [None, "制表人：张三", "2024-02-01"], []]))
    sheet = made["数据"]
    sheet.merge_cells("B2:E2")
    for row in ORDERS:
        sheet.append([None, *row])
    made.create_sheet("字典").sheet_state = "hidden"
    for number in range(200):
        made["字典"].append([number, "a", "b"])
    made.save(path)
    rows, rejected = read(path, "excel")
    assert not rejected and len(rows) == 40
    assert rows[1] == {"订单号": "A1", "评论": "第1条评论", "金额": 1.5, "日期": "2024-01-02"}
    assert rows[2]["金额"] == 3 and isinstance(rows[2]["金额"], int)
    found = look_at_sheets(source_files(str(path))[0])
    assert (found.chosen, found.header_row) == ("数据", 4)
    assert read_about(shop, path)["sheets"] == {"销售.xlsx": "数据"}
    assert [(one.name, one.visible) for one in found.sheets] == [("说明", True), ("数据", True), ("字典", False)]
    assert read(path, "excel", sheet="说明")[0][0] == {"column_1": "本表由财务部制作"}
    with pytest.raises(MofangError) as caught:
        read(path, "excel", sheet="数剧")
    assert caught.value.code == "sheet-missing" and caught.value.values["nearest"] == "数据"


def test_values_merged_cells_and_headers_of_two_rows(tmp_path: Path) -> None:
    path = book(
        tmp_path / "a.xlsx",
        表=[
            ["类别", "一月", None, "二月", None],
            [None, "数量", "金额", "数量", "金额"],
            ["甲", 1, 2.5, True, datetime.datetime(2024, 5, 6, 7, 8, 9)],
            [None, 2, 10**17, "  x ", datetime.time(7, 30)],
            [],
            ["乙", "#N/A", 110101199003070011, 3, None],
        ],
    )
    made = openpyxl.load_workbook(path)
    for cells in ("A1:A2", "B1:C1", "D1:E1", "A3:A4"):
        made["表"].merge_cells(cells)
    made["表"]["B6"].data_type = "e"
    made.save(path)
    rows, rejected = read(path, "excel")
    assert not rejected and [list(row.values()) for row in rows] == [
        ["甲", 1, 2.5, True, "2024-05-06T07:08:09"],
        ["甲", 2, 10**17, "  x ", "07:30:00"],
        ["乙", None, 110101199003070000, 3, None],
    ]
    assert list(rows[0]) == ["类别", "一月 数量", "一月 金额", "二月 数量", "二月 金额"]


def test_a_repeated_header_and_a_sheet_without_one(tmp_path: Path) -> None:
    rows = [["text", "label"], ["good film", "pos"], ["text", "label"], ["bad film", "neg"]]
    assert [row["text"] for row in read(book(tmp_path / "a.xlsx", s=rows), "excel")[0]] == ["good film", "bad film"]
    rows = [[5.1, 3.5, "setosa"], [4.9, 3.0, "setosa"]] * 5
    assert read(book(tmp_path / "b.xlsx", s=rows), "excel")[0][1] == {"column_1": 4.9, "column_2": 3, "column_3": "setosa"}


def test_notes_above_a_sparse_table_and_names_of_two_lines(tmp_path: Path) -> None:
    sparse = [[f"v{i}" if (i + j) % 3 == 0 else None for j in range(10)] for i in range(40)]
    head = [["客户反馈登记表"], ["制表人：张三", "部门：销售", "时间：一月"], [f"列{j}" for j in range(10)]]
    rows, _ = read(book(tmp_path / "a.xlsx", s=[*head, *sparse]), "excel")
    assert list(rows[0]) == head[2] and len(rows) == 40
    rows, _ = read(book(tmp_path / "b.xlsx", s=[[None, "评论\n内容", "标签"], *[[i, f"评论{i}", "好"] for i in range(9)]]), "excel")
    assert rows[0] == {"column_1": 0, "评论 内容": "评论0", "标签": "好"}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([110101199003070000] * 3, 3),
        (["1.10101E+17", "1.23457E+17", ""], 2),
        (["1.23457E+11"] * 5, 5),
        (["110101199003070000", "110101199003071000", None], 2),
        (["110101199003070011", "44010119900307123X", "110101199003070000"], 0),
        (["6.02E+23", *["1.5", "2.5E-3", "12"] * 5], 0),
        ([1.5, 2, None], 0),
        ([], 0),
    ],
)
def test_numbers_that_a_spreadsheet_rounded(values: list[Any], count: int) -> None:
    assert rounded_numbers(values) == count


def test_rounded_numbers_are_counted_and_no_input(shop: Shop, tmp_path: Path) -> None:
    rows = [["身份证", "收入", "违约"], *([110101199003070000 + i * 1000, i % 7, "是" if i % 2 else "否"] for i in range(30))]
    for path in (book(tmp_path / "a.xlsx", s=rows), tmp_path / "b.csv"):
        if path.suffix == ".csv":
            lines = ["身份证,收入,违约", *(f"{row[0]:.5E},{row[1]},{row[2]}".replace("E+0", "E+") for row in rows[1:])]
            path.write_text("\n".join(lines), encoding="gb18030")
        guessed = shop.run(collect, source=str(path), licence="own", label="违约")
        assert guessed.measures["columns"] == {"收入": "number", "违约": "label"}
        made = shop.run(collect, source=str(path), licence="own", label="违约", numbers=("收入",), keep=("身份证",))
        assert made.measures["rounded_numbers"] == {"身份证": 30}


ODS = """<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
<office:body><office:spreadsheet><table:table table:name="表">{rows}</table:table></office:spreadsheet></office:body>
</office:document-content>"""


def test_ods_and_texts_that_only_look_like_spreadsheets(tmp_path: Path) -> None:
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    rows = "".join(f"<table:table-row>{cell.format(a)}{cell.format(b)}</table:table-row>" for a, b in [("text", "label"), *[("good film", "x"), ("bad film", "y")] * 5])
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest:manifest xmlns:manifest='urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'/>")
        archive.writestr("content.xml", ODS.format(rows=rows))
    assert read(tmp_path / "a.ods", "excel")[0][1] == {"text": "bad film", "label": "y"}
    (tmp_path / "export.xls").write_bytes("评论\t标签\n很好\t好评\n很差\t差评\n".encode("gb18030"))
    assert read(tmp_path / "export.xls", "excel")[0][0] == {"评论": "很好", "标签": "好评"}
    (tmp_path / "page.xls").write_text("\n<html><table><tr><td>1</td></tr></table></html>")
    with pytest.raises(MofangError) as caught:
        read(tmp_path / "page.xls", "excel")
    assert caught.value.code == "spreadsheet-web-page"


def test_a_workbook_of_excel_97(tmp_path: Path) -> None:
    rows = [["评论", "金额"], *([f"第{i}条", i * 1.5] for i in range(30))]
    (tmp_path / "旧表.xls").write_bytes(xls(rows))
    found, rejected = read(tmp_path / "旧表.xls", "excel")
    assert not rejected and len(found) == 30 and found[2] == {"评论": "第2条", "金额": 3}
    (tmp_path / "旧表.xls").write_bytes(xls(rows, locked=True))
    with pytest.raises(MofangError) as caught:
        read(tmp_path / "旧表.xls", "excel")
    assert caught.value.code == "spreadsheet-locked"


def hostile(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "a.xlsx"
    whole = book(path, s=ORDERS).read_bytes()
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "locked":
        path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600))
    elif kind == "not-one":
        path.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 10)
    elif kind == "text":
        path.write_bytes(b"only words")
    elif kind == "compound":
        path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(3000))
    else:
        made = openpyxl.Workbook()
        made.active.cell(1, 1, 1)
        made.active.cell(1_048_576, 16_384, 2)
        made.save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("cut", "spreadsheet-broken"),
        ("locked", "spreadsheet-locked"),
        ("not-one", "spreadsheet-broken"),
        ("text", "spreadsheet-broken"),
        ("compound", "spreadsheet-broken"),
        ("far", "spreadsheet-too-large"),
    ],
)
def test_hostile_files_end_in_words(tmp_path: Path, kind: str, code: str) -> None:
    path = hostile(tmp_path, kind)
    with pytest.raises(MofangError) as caught:
        read(path, "excel")
    assert caught.value.code == code
    path.rename(tmp_path / "b.xlsx")
    book(tmp_path / "a.xlsx", s=ORDERS)
    rows, rejected = read(tmp_path / "*.xlsx", "excel")
    assert len(rows) == 40 and [reason for _, reason in rejected] == [code]


def test_the_format_is_told_from_the_ending(tmp_path: Path) -> None:
    book(tmp_path / "a.XLSX", s=ORDERS)
    assert detect_format(source_files(str(tmp_path / "a.XLSX"))) == "excel"
