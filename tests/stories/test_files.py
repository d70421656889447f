"""Files as people have them, typed in: workbooks, archives, growing months; what is wrong with one is said in two languages."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from mofang.cli.group import run
from tests.data.compound import xls
from tests.data.test_archives import zipped
from tests.data.test_excel import book
from tests.data.test_stable_sides import texts

REVIEWS = [["2024 年评论导出"], [], ["评论", "星级"], *([text, 1 + i % 5] for i, text in enumerate(texts(300)))]


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty folder to stand in, and the language of its screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOFANG_LANG", request.param)
    monkeypatch.delenv("MOFANG_SHOP", raising=False)
    return str(request.param)


def spoiled(kind: str) -> str:
    """A file that cannot be used; its name."""
    name = {"locked": "表.xls", "cut": "表.xlsx", "page": "网页.xls", "bomb": "炸弹.zip", "password": "加密.zip", "outside": "外面.zip"}[kind]
    path = Path(name)
    if kind == "locked":
        path.write_bytes(xls([["a", "b"], ["c", "d"]], locked=True))
    elif kind == "cut":
        path.write_bytes(book(path, s=REVIEWS).read_bytes()[:-3000])
    elif kind == "page":
        path.write_text("<html><table><tr><td>1</td></tr></table></html>")
    elif kind == "outside":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../a.csv", "a,b\n")
    else:
        whole = bytearray(zipped(path, {"a.csv": b"a,b\n1,2\n"}).read_bytes())
        place = whole.index(b"PK\x01\x02")
        if kind == "bomb":
            whole[place + 24 : place + 28] = (3 * 2**30).to_bytes(4, "little")
        else:
            whole[place + 8] |= 1
        path.write_bytes(bytes(whole))
    return name


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("locked", "spreadsheet-locked"),
        ("cut", "spreadsheet-broken"),
        ("page", "spreadsheet-web-page"),
        ("bomb", "archive-bomb"),
        ("password", "archive-locked"),
        ("outside", "archive-refused"),
    ],
)
def test_a_spoiled_file_is_said_in_words(language: str, capsys: pytest.CaptureFixture[str], kind: str, code: str) -> None:
    name = spoiled(kind)
    assert run(["collect", "--source", name, "--licence", "own"]) == 1
    said = capsys.readouterr().err
    assert f"[{code}]" in said and name in said and "Traceback" not in said
    assert any("\u4e00" <= sign <= "\u9fff" for sign in said.replace(name, "")) == (language == "zh")


def test_a_workbook_grows_from_month_to_month(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    def typed(*words: str) -> str:
        assert run(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    book(Path("评论.xlsx"), 说明=[["只是说明"]] * 3, 数据=REVIEWS)
    collect = ["collect", "--source", "评论.xlsx", "--licence", "own", "--label", "星级", "--text", "评论", "--name", "rows"]
    typed(*collect)
    typed("clean", "rows", "--labels", "4,5=好评;1,2=差评", "--name", "kept")
    typed("snapshot", "kept/kept", "--task", "text_classification", "--name", "parts")
    book(Path("评论.xlsx"), 说明=[["只是说明"]] * 3, 数据=[*REVIEWS, *([text, 5] for text in texts(60, 3)), *REVIEWS[3:9]])
    typed(*collect)
    typed("clean", "rows", "kept", "--labels", "4,5=好评;1,2=差评", "--name", "kept")
    typed("snapshot", "kept/kept", "parts", "--task", "text_classification", "--name", "parts")
    runs = {row["run"]: row for row in json.loads(typed("runs", "--json"))}
    assert len(runs) == 8 and {row["stage"] for row in runs.values()} == {"collect", "survey", "clean", "snapshot"}
    Path("评论.xlsx").unlink()
    assert run([*collect, "--origin", "again"]) == 1
    said = capsys.readouterr().err
    assert "[source-gone]" in said and "parts@2" in said
