"""Every guess has a flag, every place that holds no records is refused in a sentence, every code is worded."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from mofang.core.shop import Shop
from mofang.data.firstlook import finding
from mofang.engine.decode import classes as decoding
from mofang.new.words import REASONS, REMARKS, SPLITS
from tests.data.shapes import EN, sentences, write_csv
from tests.new.shapes20 import afterwards, leak, patients, stars_by_user, workbook

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """Typed in an empty folder, the machine's probe remembered for the session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], source: Path, *flags: str, status: int = 0) -> Any:
    """What `mofang new` prints as JSON."""
    (source.parent / "r.py").unlink(missing_ok=True)
    assert run(["new", str(source), "--out", str(source.parent / "r.py"), "--json", *flags]) == status
    return json.loads(capsys.readouterr().out)


def test_a_column_is_brought_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = leak(tmp_path, random.Random(3))
    assert "ampel" in dict(said(capsys, source)["left_out"])
    found = said(capsys, source, "--keep", "ampel")
    assert dict(found["inputs"])["ampel"] == "category" and "ampel" not in dict(found["left_out"])
    source = afterwards(tmp_path, random.Random(3))
    found = said(capsys, source, "--keep", "退款日期", "--keep", "处理方式")
    assert {"退款日期", "处理方式"} <= dict(found["inputs"]).keys()
    assert said(capsys, source, "--keep", "退款日", status=1)["error"]["code"] == "column-missing"


def test_group_time_and_map_are_taken_as_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = stars_by_user(tmp_path, random.Random(4))
    found = said(capsys, source, "--map", "1,2,3=bad;4,5=good", "--time", "date")
    assert (found["map"], found["time"], found["group"], found["set_aside"]) == ("1,2,3=bad;4,5=good", "date", "", 0)
    text = (tmp_path / "r.py").read_text(encoding="utf-8")
    assert 'labels="1,2,3=bad;4,5=good"' in text and 'time="date",  # as you asked' in text
    found = said(capsys, patients(tmp_path, random.Random(4)), "--group", "pulse")
    assert found["group"] == "pulse" and "pulse" not in dict(found["inputs"])
    for map, code in (("1,2", "label-map-unreadable"), ("1=a;1=b", "label-map-twice"), ("9=a;8=b", "label-map-no-class")):
        assert said(capsys, source, "--map", map, status=1)["error"]["code"] == code


def test_a_sheet_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = workbook(tmp_path, random.Random(5))
    found = said(capsys, source)
    assert found["sheet"] == "客户" and "sheets" in [one["code"] for one in found["remarks"]]
    assert said(capsys, source, "--sheet", "客户")["label"] == "是否流失"
    assert said(capsys, source, "--sheet", "顾客", status=1)["error"]["code"] == "sheet-missing"


def test_money_and_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "a.csv", ("text", "label"), sentences(EN, 200))
    found = said(capsys, source)["estimate"]
    assert 5 < found["seconds"] < 600 and found["money"] is None and found["steps"]["select"] > 0
    Shop.open(tmp_path / "shop").set_rates(machine_hour_micros=36_000_000)
    found = said(capsys, source)["estimate"]
    assert found["micros"] == pytest.approx(found["seconds"] * 10_000, rel=0.01) and found["money"].startswith("¥")
    assert run(["new", str(source), "--out", "other.py"]) == 0
    assert f"money: {found['money']}" in capsys.readouterr().out


def test_places_that_hold_no_records(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def code(place: Path) -> str:
        assert run(["new", str(place), "--json"]) == 1
        return str(json.loads(capsys.readouterr().out)["error"]["code"])

    company = tmp_path / "company"
    Shop.open(company / "shop")
    write_csv(company / "reviews.csv", ("text", "label"), sentences(EN, 50))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("a.csv", "b.pdf", "c.docx", "d.png", "e.mp4"):
        (mixed / name).write_text("x,y\n1,2\n")
    assert code(company / "shop") == "place-is-a-shop"
    assert code(company) == "place-holds-a-shop"
    assert code(tmp_path / "home") == code(Path("/")) == "place-too-wide"
    assert code(ROOT / "src") == "place-is-code"
    assert code(mixed) == "place-mixed"
    assert not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_unlabelled_things_are_told_what_can_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str) -> None:
    (tmp_path / "照片").mkdir()
    for place in range(4):
        (tmp_path / "照片" / f"{place}.jpg").write_bytes(b"\xff\xd8\xff")
    assert run(["--lang", language, "new", "照片"]) == 1
    shown = "".join(capsys.readouterr())
    assert ("one folder per class" in shown) == (language == "en") and ("不同的文件夹" in shown) == (language == "zh")


def test_every_code_is_worded() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "mofang" / "data").rglob("*.py"))
    codes = set(re.findall(r'Remark\(\s*"([a-z-]+)"', sources))
    codes |= {pair for one in re.findall(r'Remark\("([a-z-]+)" if \w+ else "([a-z-]+)"', sources) for pair in one} | {"says-the-label", "afterwards"}
    assert codes == set(REMARKS)
    for en, zh in (*REMARKS.values(), *REASONS.values(), *SPLITS.values()):
        assert set(re.findall(r"{\w+}", en)) == set(re.findall(r"{\w+}", zh)), en


def test_the_rare_class_is_that_of_the_headline() -> None:
    for classes in (2, 3, 5, 10, 77):
        for share in (0.01, 0.05, 0.1, 0.19, 0.2, 0.3):
            if share * classes <= 1:
                assert decoding.is_rare(share, classes) == (share < min(finding.RARE, finding.UNEVEN / classes))
