"""Readers: every shape of file people have; what cannot be read is named, and nothing else is lost."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.readers import Reading, reader_named
from mofang.data.readers.delimited import delimiter_scores, looks_like_header
from mofang.data.sources.files import SourceFile, source_files

CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=12)


def read(path: Path, format: str, **how: Any) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """All rows as dictionaries, and (row number, reason) of the rejected ones."""
    rejected: list[tuple[int, str]] = []
    files = source_files(str(path))
    reading = Reading(format=format, **how)
    rows = []
    for chunk in reader_named(format)(
        files, reading, lambda file, row, reason, *_rest: rejected.append((row, reason))
    ):
        names = list(chunk.columns)
        assert all(len(values) == len(chunk.numbers) for values in chunk.columns.values())
        rows += [dict(zip(names, row, strict=True)) for row in zip(*chunk.columns.values(), strict=True)]
    return rows, rejected


def written(tmp_path: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# CSV


def test_quoted_line_ends_and_delimiters(tmp_path: Path) -> None:
    path = written(tmp_path, 'text,label\n"a\nb, ""c""",pos\r\nplain,neg\n')
    assert read(path, "csv")[0] == [{"text": 'a\nb, "c"', "label": "pos"}, {"text": "plain", "label": "neg"}]


def test_ragged_rows_are_named_by_line(tmp_path: Path) -> None:
    rows, rejected = read(written(tmp_path, "text,label\na,x\nb\n\nc,y,z\nd,x\n"), "csv")
    assert [row["text"] for row in rows] == ["a", "d"]
    assert rejected == [(3, "ragged-row"), (5, "ragged-row")]


def test_an_unclosed_quote_spoils_one_row(tmp_path: Path) -> None:
    lines = ["text,label", *(f"t{i},x" for i in range(50))]
    lines[10] = '"never closed,x'
    rows, rejected = read(written(tmp_path, "\n".join(lines) + "\n"), "csv")
    assert len(rows) == 49 and rejected == [(11, "quote-open")]
    lines[10] = 'x,"never closed'
    rows, rejected = read(written(tmp_path, "\n".join(lines) + "\n"), "csv")
    assert len(rows) == 49 and rejected == [(11, "quote-open")]


def test_tab_files_do_not_quote(tmp_path: Path) -> None:
    content = 'ham\t"quoted start\nspam\tend" here\n' + "ham\thello there my friend\nspam\twin now\n" * 10
    rows, rejected = read(written(tmp_path, content, "a.tsv"), "csv")
    assert len(rows) == 22 and not rejected
    assert rows[0] == {"column_1": "ham", "column_2": '"quoted start'}


def test_a_cell_of_ten_megabytes_is_rejected_and_the_rest_read(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\na,x\n" + "b" * 10_000_000 + ",x\nc,x\n")
    rows, rejected = read(path, "csv")
    assert [row["text"] for row in rows] == ["a", "c"] and rejected == [(3, "cell-too-large")]


def test_a_line_of_forty_megabytes_is_rejected_and_the_rest_read(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\na,x\n" + "b" * 40_000_000 + ",x\nc,x\n")
    rows, rejected = read(path, "csv")
    assert [row["text"] for row in rows] == ["a", "c"] and [reason for _, reason in rejected] == [
        "cell-too-large"
    ]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["content", "label"], *([f"one, two; text {i}", "yes" if i % 2 else "no"] for i in range(30))]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    found, rejected = read(written(tmp_path, out.getvalue()), "csv")
    assert not rejected and found[0] == {"content": "one, two; text 0", "label": "no"} and len(found) == 30


def test_decimal_commas_do_not_hide_the_semicolon() -> None:
    scores = delimiter_scores(["a;b;c\n", *(f"1,{i};2,5;3,7\n" for i in range(20))])
    assert max(scores, key=lambda one: scores[one]) == ";"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["text", "label"], ["good film", "pos"], ["bad film", "neg"]], True),
        (
            [
                ["ham", "Go until jurong point, crazy.."],
                *([["ham", f"hello {i}"], ["spam", f"win {i}"]][i % 2] for i in range(9)),
            ],
            False,
        ),
        ([["5.1", "3.5", "setosa"], ["4.9", "3.0", "setosa"]], False),
        ([["sepal", "petal", "kind"], ["4.9", "3.0", "setosa"]], True),
        ([["标签", "内容"], ["好评", "很好"]], True),
        ([["a"], ["b"]], True),
    ],
)
def test_headers(rows: list[list[str]], expected: bool) -> None:
    assert looks_like_header(rows) is expected


def test_gb18030_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "内容,标签\n" + "这是一个很好的酒店,好评\n我不会再来了,差评\n" * 10
    for encoding in ("gb18030", "utf-8-sig", "utf-16"):
        rows, rejected = read(written(tmp_path, text.encode(encoding)), "csv")
        assert len(rows) == 20 and not rejected and rows[0] == {"内容": "这是一个很好的酒店", "标签": "好评"}


def test_a_doubled_column_is_marked(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, "text,label,text\na,x,b\n"), "csv")
    assert list(rows[0]) == ["text", "label", "text\x003"]


def test_given_names_skipped_lines_and_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "569,30,malignant\n1.0,2.0,0\n3.0,4.0,1\n")
    rows, rejected = read(path, "csv", skip_lines=1, header="no")
    assert rows == [
        {"column_1": "1.0", "column_2": "2.0", "column_3": "0"},
        {"column_1": "3.0", "column_2": "4.0", "column_3": "1"},
    ]
    assert not rejected


def test_an_empty_file_is_a_rejection(tmp_path: Path) -> None:
    for format in ("csv", "jsonl", "lines"):
        assert read(written(tmp_path, ""), format) == ([], [(0, "file-empty")])


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b", "c"), *rows])
    found, rejected = read(path, "csv", encoding="utf-8", delimiter=",", header="yes")
    assert not rejected
    assert [tuple(row.values()) for row in found] == rows


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_any_text_is_read_or_rejected_without_a_crash(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(text.encode())
    for format in ("csv", "jsonl", "lines"):
        try:
            read(path, format, delimiter=",", encoding="utf-8")
        except MofangError as error:
            assert error.code == "delimiter-wrong"


# JSON


def test_json_lines(tmp_path: Path) -> None:
    content = '{"text": "a", "n": 1}\n\n{"text": "b", "n": NaN}\n{broken\n[1]\n{"text": "c"}\n'
    rows, rejected = read(written(tmp_path, content, "a.jsonl"), "jsonl")
    assert rows == [{"text": "a", "n": 1}, {"text": "b", "n": None}, {"text": "c", "n": None}]
    assert rejected == [(4, "not-json"), (5, "not-an-object")]


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.text(max_size=20) | st.integers(-5, 5), min_size=1),
        max_size=20,
    ),
    st.booleans(),
)
def test_a_json_array_is_read_object_by_object(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], indent: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, indent=2 if indent else None), encoding="utf-8")
    found, rejected = read(path, "jsonl")
    assert not rejected
    assert [{k: v for k, v in row.items() if v is not None} for row in found] == rows


def test_a_long_json_array_crosses_pieces(tmp_path: Path) -> None:
    rows = [{"text": "好" * 1000, "n": i} for i in range(2000)]
    found, rejected = read(written(tmp_path, json.dumps(rows), "a.json"), "jsonl")
    assert found == rows and not rejected


def test_a_json_array_cut_short(tmp_path: Path) -> None:
    found, rejected = read(written(tmp_path, '[{"a": 1}, {"a": 2}, {"a"', "a.json"), "jsonl")
    assert len(found) == 2 and rejected == [(3, "not-json")]


# Parquet


def test_parquet_and_a_damaged_one(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", "b"],
            "n": [1, 2],
            "image": [{"bytes": b"x", "path": "x.png"}, {"bytes": b"y", "path": None}],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "parquet")[0] == [
        {"text": "a", "n": 1, "image": "x.png"},
        {"text": "b", "n": 2, "image": "2"},
    ]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    rows, rejected = read(tmp_path, "parquet")
    assert len(rows) == 2 and rejected == [(0, "not-parquet")]


# Texts


def test_lines_take_their_class_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "pos.txt").write_text("好\n\n很好\r\n", encoding="utf-8")
    (tmp_path / "neg.txt").write_text("差", encoding="utf-8")
    rows, rejected = read(tmp_path, "lines")
    assert rows == [
        {"text": "差", "label": "neg"},
        {"text": "好", "label": "pos"},
        {"text": "很好", "label": "pos"},
    ]
    assert not rejected


def test_documents_take_their_class_from_the_folder(tmp_path: Path) -> None:
    for name, content in {
        "pos/1.txt": b"good\nfilm",
        "pos/2.txt": b"  ",
        "neg/3.txt": b"bad",
        "neg/4.txt": b"\xff\xfa\xc3",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    rows, rejected = read(tmp_path, "documents", encoding="utf-8")
    assert rows == [{"text": "bad", "label": "neg"}, {"text": "good\nfilm", "label": "pos"}]
    assert sorted(reason for _, reason in rejected) == ["file-empty", "undecodable"]


# Images


def test_images_take_their_class_from_the_folder_or_the_label_file(tmp_path: Path) -> None:
    for name in ("猫/1.png", "狗/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"bytes")
    (tmp_path / "狗" / "empty.png").write_bytes(b"")
    rows, rejected = read(tmp_path, "images")
    assert rows == [
        {"image": "狗/2.png", "folder": "", "label": "狗"},
        {"image": "猫/1.png", "folder": "", "label": "猫"},
    ]
    assert [reason for _, reason in rejected] == ["file-empty"]
    (tmp_path / "labels.csv").write_text("file,kind\n1.png,cat\n2.png,dog\ngone.png,dog\n")
    rows, rejected = read(tmp_path, "images", label_file="labels.csv", label="kind")
    assert rows == [
        {"image": "狗/2.png", "folder": "狗", "kind": "dog"},
        {"image": "猫/1.png", "folder": "猫", "kind": "cat"},
    ]
    assert (4, "image-missing") in rejected


def test_pixels_become_png(tmp_path: Path) -> None:
    from PIL import Image

    lines = [",".join([*map(str, range(16)), "7"]), ",".join(["300"] * 16 + ["1"])]
    path = written(tmp_path, "\n".join(lines) + "\n")
    rejected: list[str] = []
    chunks = list(
        reader_named("pixels")(
            [SourceFile(path, "a.csv")],
            Reading(format="pixels"),
            lambda file, row, reason, *_rest: rejected.append(reason),
        )
    )
    assert chunks[0].columns["label"] == ["7"] and rejected == ["not-pixels"]
    with Image.open(io.BytesIO(chunks[0].media["image"][0])) as image:
        assert image.size == (4, 4) and list(image.tobytes()) == list(range(16))
