"""Erasing by typing: looked at, asked about, done, told, in English and in Chinese, and never by mistake."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import pytest

from tests.new.test_pages import walk
from tests.stories.terminal import Inside, Terminal

NOTE = "青铜钥匙只有我有"


def visits(path: Path, rows: int = 60) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "note", "outcome"])
        for number in range(rows):
            theirs = number in (17, 40)
            writer.writerow(["C-017" if theirs else f"c-{number + 100}", f"{NOTE}{number}" if theirs else f"第{number}次到访，一切正常",
                             ("来", "走")[number % 2]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    visits(tmp_path / "visits.csv")
    return tmp_path


def collect(terminal: Terminal, *more: str) -> None:
    terminal.type("collect", "--source", "visits.csv", "--licence", "own", "--text", "note", "--label", "outcome",
                  "--person", "customer", "--name", "visits", *more)


def test_the_page_is_true(folder: Path) -> None:
    walk("erase.md", Inside(folder), {})
    terminal = Inside(folder)
    assert "0 records" in terminal.type("erase", "c-017", "--yes").out


def test_nothing_is_erased_without_a_yes_or_for_a_stranger(folder: Path) -> None:
    terminal = Inside(folder)
    collect(terminal)
    assert "yes-needed" in terminal.type("erase", "c-017", status=1).err
    assert "erase-nobody" in terminal.type("erase", "c-999", "--yes", status=1).err
    assert "erase-whom" in terminal.type("erase", "--yes", status=1).err
    assert json.loads(terminal.type("erase", "c-017", "--dry-run", "--json").out)["records"] == 2


def test_in_chinese_it_says_what_stays_in_the_weights(folder: Path) -> None:
    terminal = Inside(folder, "zh")
    collect(terminal)
    said = terminal.type("erase", "c-017", "--yes").out
    assert "已抹除：2 条记录" in said and "请也在那里删除此人" in said
    assert "没有找到属于此人" in terminal.type("erase", "无此人", "--yes", status=1).err
    assert "抹除 PERSON" in terminal.type("erase", "--help").out


def test_what_is_past_its_day_is_listed_and_erased(folder: Path) -> None:
    terminal = Inside(folder)
    collect(terminal, "--retain-until", "2001-02-03")
    terminal.type("clean", "visits", "--name", "clean")
    assert "60 records are past the day" in terminal.type().out
    assert "2001-02-03" in terminal.type("erase", "--expired", "--dry-run").out
    told = json.loads(terminal.type("erase", "--expired", "--yes", "--json").out)
    assert told["records"] == 60 and told["due"][0]["until"] == "2001-02-03"
    assert "past the day" not in terminal.type().out and "Nothing here is past" in terminal.type("erase", "--expired").out
    terminal.type("verify")
    tomorrow = (datetime.date.today() + datetime.timedelta(days=1)).isoformat()
    collect(terminal, "--retain-until", tomorrow)
    assert "past the day" not in terminal.type().out
