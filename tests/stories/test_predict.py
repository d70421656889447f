"""``mofang predict`` with what people have at hand: tables, spreadsheets, archives, pipes, odd paths; answers that can be joined."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mofang.cli.group import run
from tests.stories.conftest import Made

GOOD, BAD = "房间很好，早餐满意！", "屏幕难看，　客服冷漠"
Typed = Callable[..., tuple[str, str]]


@pytest.fixture
def typed(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Commands typed in this process, beside the shop that was made once; the files lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOFANG_SHOP", str(made.folder / "shop"))

    def type_(*words: str, status: int = 0, given: bytes = b"", language: str = "en") -> tuple[str, str]:
        monkeypatch.setenv("MOFANG_LANG", language)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        found = run(["predict", *words])
        shown = capsys.readouterr()
        assert found == status, shown
        return shown.out, shown.err

    return type_


def write_csv(path: Path, encoding: str = "utf-8") -> None:
    path.write_text(f"编号,评论,备注\nA-1,{GOOD},x\nA-2,{BAD},y\nA-3,{GOOD},\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-8-sig"])
def test_a_table_in_a_folder_with_a_chinese_name_and_spaces(typed: Typed, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "客户 数据（新）"
    folder.mkdir()
    write_csv(folder / "评论 一月.csv", encoding)
    out, _ = typed("reviews", str(folder / "评论 一月.csv"))
    assert [line.split()[:2] for line in out.splitlines()] == [["2", "好评"], ["3", "差评"], ["4", "好评"]], "as a spreadsheet counts"


def test_answers_in_a_spreadsheet_that_joins_by_row(typed: Typed, tmp_path: Path) -> None:
    write_csv(tmp_path / "in.csv")
    out, err = typed("reviews", "in.csv", "--out", "answers.csv")
    assert out == "" and "3 answers in answers.csv" in err
    assert (tmp_path / "answers.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "spreadsheets see that it is UTF-8"
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(one["row"], one["label"]) for one in rows] == [("2", "好评"), ("3", "差评"), ("4", "好评")]
    assert all(abs(float(one["score 好评"]) + float(one["score 差评"]) - 1) < 1e-5 for one in rows)
    typed("reviews", "in.csv", "--out", "answers.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["row"] for one in lines] == [2, 3, 4] and set(lines[0]) == {"row", "label", "scores"}
    assert list(tmp_path.glob(".answers*")) == []


def test_spreadsheets_archives_and_json_lines(typed: Typed, tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    assert book.active is not None
    for row in (["编号", "评论"], [1, GOOD], [2, BAD]):
        book.active.append(row)
    book.save(tmp_path / "表.xlsx")
    write_csv(tmp_path / "in.csv")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "in.csv", "in.csv")
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"评论": text, "n": 1}) for text in (GOOD, BAD)), encoding="utf-8")
    for name, labels in (("表.xlsx", ["好评", "差评"]), ("in.zip", ["好评", "差评", "好评"]), ("in.jsonl", ["好评", "差评"])):
        out, _ = typed("reviews", name, "--json")
        assert [json.loads(line)["label"] for line in out.splitlines()] == labels, name


def test_standard_input_with_empty_lines_keeps_the_numbers_of_the_lines(typed: Typed, tmp_path: Path) -> None:
    typed("reviews", "-", "--out", "a.jsonl", given=f"{GOOD}\n\n{BAD}\n".encode("gb18030"))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(one["row"], one["label"]) for one in lines] == [(1, "好评"), (3, "差评")]
    out, _ = typed("reviews", given=f"{GOOD}\n".encode())
    assert out.startswith("好评  0.")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_answered_is_said_and_leaves_no_file(typed: Typed, tmp_path: Path, language: str) -> None:
    (tmp_path / "wrong.csv").write_text("text,n\na,1\nb,2\n")
    (tmp_path / "only-header.csv").write_text("评论\n")
    (tmp_path / "nothing.csv").write_bytes(b"")
    (tmp_path / "hole.csv").write_text(f"评论,n\n{GOOD},1\n,2\n", encoding="utf-8")
    (tmp_path / "blank.txt").write_text("\n\n")
    for name, code, words in (("wrong.csv", "input-column-missing", "评论"), ("nothing.csv", "", ""),
                              ("only-header.csv", "", ""), ("hole.csv", "row-unreadable", "3"), ("gone.csv", "source-missing", ""),
                              ("blank.txt", "nothing-to-answer", "blank.txt")):
        _, err = typed("reviews", name, "--out", "answers.csv", status=1, language=language)
        assert words in err and (not code or f"[{code}]" in err) and "[internal]" not in err, err
        assert not (tmp_path / "answers.csv").exists(), "half an answer file would look like a whole one"
    _, err = typed("reviews", "-", status=1, given=b"\n", language=language)
    assert "[nothing-to-answer]" in err
    _, err = typed("reviews", GOOD, "--out", "answers.xls", status=1, language=language)
    assert "[out-ending]" in err
    assert list(tmp_path.glob(".answers*")) == []
