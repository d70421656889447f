"""``mofang new`` typed on files that nobody here prepared: what it says, or the code it ends with. The shapes
are those of real files on which it was once confidently wrong, or slow, or silent."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from tests.data.pictures import write_pictures
from tests.data.shapes import EN, ZH, sentences, write_csv, write_jsonl

CHANCE = random.Random(11)
TEXTS = sentences(ZH, 120)


def table(path: Path, header: str, *makers: Callable[[int], object], rows: int = 300, **how: Any) -> Path:
    """A CSV file with a column for each maker, which is given the row's number."""
    return write_csv(path, header.split(","), [[make(row) for make in makers] for row in range(rows)], **how)


def some(*values: object) -> Callable[[int], object]:
    return lambda _row: CHANCE.choice(values)


def number(low: int = 0, high: int = 100_000) -> Callable[[int], object]:
    return lambda _row: CHANCE.randint(low, high)


def word(row: int) -> str:
    """Names of packages: long, distinct, one word each."""
    return f"lib{CHANCE.choice(['gtk', 'python', 'xml'])}-{row}-perl-module"


def pixels(path: Path, header: bool, first: bool) -> Path:
    rows = [[str(CHANCE.randrange(256)) for _ in range(64)] for _ in range(40)]
    for row, one in enumerate(rows):
        one.insert(0 if first else 64, str(row % 4))
    names = [f"pixel{i}" for i in range(64)]
    names.insert(0 if first else 64, "label")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows] if header else rows)
    return path


LONG = "installment_rate_in_percentage_of_disposable_income"
GUESSED: dict[str, tuple[Callable[[Path], Path], str, str, list[str]]] = {
    "names of packages are no texts": (
        lambda p: table(p, "package,section,description", word, some("libs", "doc"), lambda i: f"reads and writes files {i}"),
        "text_classification", "section", ["description"],
    ),
    "Chinese words beside their counts": (
        lambda p: table(p, "序号,词语,词频,词性", lambda i: i + 1, lambda i: f"{chr(0x4E00 + i)}{chr(0x5000 + i)}", number(), some("n", "v"),
                        encoding="gb18030"),
        "text_classification", "词性", ["词语"],
    ),
    "a short text in a wide table": (
        lambda p: table(p, "occupation,a,b,c,d,e,f,grade", lambda i: f"chief of unit {i}", *[number()] * 6, some("A", "B")),
        "table_classification", "grade", ["a", "b", "c", "d", "e", "f"],
    ),
    "names alone": (
        lambda p: table(p, "code,name,type", lambda i: f"AD-{i}", lambda i: f"Saint {i}", some("Province", "State")),
        "text_classification", "type", ["name"],
    ),
    "an id that comes twice, an earlier split": (
        lambda p: table(p, "ID,part,x,class", lambda i: 1000 + i % 270, some("train", "test"), number(), some("a", "b")),
        "table_classification", "class", ["x"],
    ),
    "a department is a column of a table": (
        lambda p: table(p, "age,attrition,department", number(20, 60), some("Yes", "No"), some("Sales", "Research")),
        "table_classification", "attrition", ["age", "department"],
    ),
    "first record of a category": (
        lambda p: table(p, "Remote,Salary,churn", some("Remote", "Office"), number(), some("yes", "no")),
        "table_classification", "churn", ["Remote", "Salary"],
    ),
    "incomes are no classes": (
        lambda p: table(p, "x,income,vote", number(), number(), some("Y", "N")), "table_classification", "vote", ["x", "income"],
    ),
    "pixels, label last": (lambda p: pixels(p, False, False), "image_classification", "column_65", ["image"]),
    "pixels, label first": (lambda p: pixels(p, True, True), "image_classification", "label", ["image"]),
    "pixels without a header": (lambda p: pixels(p, False, True), "image_classification", "column_1", ["image"]),
    "Excel's Unicode text": (
        lambda p: write_csv(p, ("评论", "情感"), TEXTS, "\t", "utf-16"), "text_classification", "情感", ["评论"],
    ),
    "semicolons and a mark": (
        lambda p: write_csv(p, ("评论", "情感"), TEXTS, ";", "utf-8-sig"), "text_classification", "情感", ["评论"],
    ),
}
REFUSED: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "tweets whose source is no label": (
        lambda p: table(p, "text,source", lambda i: f"we will make it great again {i}", some("Web", "Phone")), [], "label-unsure",
    ),
    "y of x and y": (lambda p: table(p, "x,y", number(), number()), [], "label-is-a-quantity"),
    "an unnamed last column": (
        lambda p: table(p, f"status_of_account,{LONG},worthy", some("a", "b"), some(1, 2, 3), some("good", "bad")), [], "label-unsure",
    ),
    "one class": (lambda p: write_csv(p, ("text", "label"), [(t, "x") for t, _ in TEXTS]), [], "one-class"),
    "doubled": (lambda p: write_csv(p, ("text", "label", "text"), [(t, y, "x") for t, y in TEXTS]), [], "column-doubled"),
    "empty": (lambda p: p.write_bytes(b""), [], "no-records"),
    "a header alone": (lambda p: p.write_text("text,label\n"), [], "no-records"),
    "noise": (lambda p: p.write_bytes(random.Random(0).randbytes(4000)), [], "not-text"),
    "wrong encoding": (lambda p: write_csv(p, ("text", "label"), TEXTS, ",", "gb18030"), ["--encoding", "utf-8"], "encoding-wrong"),
    "no such encoding": (lambda p: write_csv(p, ("text", "label"), TEXTS), ["--encoding", "utf-99"], "encoding-unknown"),
    "wrong delimiter": (lambda p: write_csv(p, ("text", "label"), TEXTS, "|"), ["--delimiter", ","], "delimiter-wrong"),
    "mistyped label": (lambda p: write_csv(p, ("text", "label"), TEXTS), ["--label", "lable"], "column-missing"),
    "texts as labels": (lambda p: write_csv(p, ("text", "label"), TEXTS), ["--label", "text"], "label-of-many-values"),
    "images asked of texts": (
        lambda p: write_csv(p, ("text", "label"), TEXTS), ["--task", "image_classification"], "task-not-for-format",
    ),
    "nothing there": (lambda _p: None, [], "source-missing"),
}


def new(path: Path, *flags: str) -> int:
    return run(["new", str(path), "--out", str(path.parent / "made" / "r.py"), "--json", *flags])


@pytest.mark.parametrize("shape", GUESSED)
def test_guessed(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, task, label, inputs = GUESSED[shape]
    assert new(make(tmp_path / "a.csv")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["label"], [name for name, _ in found["inputs"]]) == (task, label, inputs)
    assert 20 <= (tmp_path / "made" / "r.py").read_text(encoding="utf-8").count("\n") <= 40


@pytest.mark.parametrize("shape", REFUSED)
def test_refused(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, flags, code = REFUSED[shape]
    make(tmp_path / "a.csv")
    assert new(tmp_path / "a.csv", *flags) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert not (tmp_path / "made").exists()


def test_json_lines_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("{bad\nnot json\n" * 30)
    assert new(tmp_path / "a.jsonl") == 1
    assert "nothing-readable" in capsys.readouterr().out


def test_nested_keys_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"meta": {"n": i}, "content": t, "label": y, "tags": []} for i, (t, y) in enumerate(TEXTS)]
    assert new(write_jsonl(tmp_path / "a.jsonl", rows)) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == [["content", "text"]]


def test_a_cell_of_ten_megabytes_and_ragged_rows_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*sentences(EN, 100), ("x" * 10_000_000, "positive"), ("one", "two", "three")]
    assert new(write_csv(tmp_path / "a.csv", ("text", "label"), rows)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 100 and dict(found["why_rejected"]) == {"cell-too-large": 1, "ragged-row": 1}


def test_folders_of_a_split_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        write_pictures(tmp_path / "signs" / part, {"stop": 20, "go": 20})
    assert run(["new", str(tmp_path / "signs"), "--out", str(tmp_path / "r.py")]) == 0
    said = capsys.readouterr().out
    assert "the folders test, train are read together" in said and "80 records, 2 classes" in said


def test_many_columns_are_said_in_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join([f"m{i}" for i in range(70)] + [f"same{i}" for i in range(30)] + ["label"])
    path = table(tmp_path / "a.csv", names, *[number()] * 70, *[some(1)] * 30, some("a", "b"))
    assert run(["new", str(path), "--out", str(tmp_path / "r.py")]) == 0
    said = capsys.readouterr().out
    assert "and 50 more" in said and said.count("(always the same)") == 1 and len(said) < 1500
    assert os.path.getsize(tmp_path / "r.py") < 4000
