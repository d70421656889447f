"""docs/collect.md: every command on the page is typed, on data of its kind."""

from __future__ import annotations

import re
import shlex
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from mofang.core.shop import Shop
from tests.data.papers import pdf, sound
from tests.stories.terminal import Inside

PAGE = Path(__file__).resolve().parents[2] / "docs" / "collect.md"


@pytest.fixture
def home(tmp_path: Path) -> Inside:
    """A folder that holds everything the page names."""
    home = Inside(tmp_path / "home")
    rows = "".join(f"第{i}条评论写得很长,{'好差'[i % 2]},u{i % 20}\n" for i in range(60))
    (home.folder / "reviews.csv").write_text("评论,评价,用户\n" + rows, encoding="utf-8")
    (home.folder / "events.log").write_text("".join(
        f'10.0.0.{i} - - [10/Oct/2025:13:55:{i % 60:02} +0800] "GET /page/{i} HTTP/1.1" 200 {i}\n' for i in range(60)), encoding="utf-8")
    for name in ("site", "manuals", "months"):
        (home.folder / name).mkdir()
    for number in range(3):
        (home.folder / "site" / f"{number}.html").write_text(f"<title>第{number}页</title><p>内容{number}</p>", encoding="utf-8")
        (home.folder / "manuals" / f"手册{number}.pdf").write_bytes(pdf([f"page {number}", "another page"]))
        (home.folder / "months" / f"2026-0{number + 1}.csv").write_text("评论,评价\n" + "".join(
            f"第{number}月第{i}条评论写得很长,{'好差'[i % 2]}\n" for i in range(30)), encoding="utf-8")
    for number in range(6):
        (home.folder / "sounds" / "开关"[number % 2]).mkdir(parents=True, exist_ok=True)
        (home.folder / "sounds" / "开关"[number % 2] / f"{number}.wav").write_bytes(sound(300.0 + number, ".wav"))
    with tarfile.open(home.folder / "reviews.tar.gz", "w:gz") as tar:
        for name in ("好评", "差评"):
            (home.folder / f"{name}.txt").write_text("".join(f"第{i}条{name}写得很长\n" for i in range(30)), encoding="utf-8")
            tar.add(home.folder / f"{name}.txt", f"{name}.txt")
            (home.folder / f"{name}.txt").unlink()
    table = pa.table({"text": [f"第{i}条评论写得很长" for i in range(50)], "y": [str(i % 2) for i in range(50)]})
    with pa.OSFile(str(home.folder / "table.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return home


def test_every_command_of_the_page(home: Inside) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## 中文")[0]
    typed = [shlex.split(line, comments=True)[1:] for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(typed) == 8
    home.type("collect", "--source", "months", "--licence", "own", "--label", "评价")
    entry = list(Shop.open(home.shop, make=False).ledger.entries("done"))[-1].id
    (home.folder / "months" / "2026-04.csv").write_text("评论,评价\n又一个月的评论写得很长,好\n", encoding="utf-8")
    for words in typed:
        home.type(*[entry if word == "RECORDS" else word for word in words])


def test_a_hostile_archive_typed_by_hand(home: Inside) -> None:
    (home.folder / "炸弹.zip").write_bytes(b"PK\x03\x04 no archive")
    done = home.type("collect", "--source", "炸弹.zip", "--licence", "own", status=None)
    assert done.status != 0 and done.code == "archive-broken" and "炸弹.zip" in done.err
