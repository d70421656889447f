"""docs/update.md as a person would follow it: its commands are typed, and the screen says what the page shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mofang.cli.group import run
from tests.stories.conftest import hasten, write_reviews

PAGE = Path(__file__).resolve().parents[2] / "docs" / "update.md"
SLOW = ("mofang serve", "mofang run parts.py")  # the first waits for requests, the second has its own test


def blocks(kind: str) -> list[str]:
    english = PAGE.read_text(encoding="utf-8").split("## 中文")[0]
    return re.findall(rf"```{kind}\n(.*?)```", english, re.DOTALL)


def pattern(line: str) -> str:
    """A line of the page, whatever its figures."""
    return re.sub(r"[+-]?\d[\d.,]*", r"[+-]?[\\d.,]+", re.escape(line).replace(r"\+", "+").replace(r"\-", "-")).replace(
        r"\.", r"\.?")


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOFANG_LANG", "en")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    write_reviews(tmp_path / "reviews.csv", rows=160)
    _muddle(tmp_path / "reviews.csv")
    write_reviews(tmp_path / "more.csv", rows=600)
    rows = (tmp_path / "more.csv").read_text(encoding="utf-8").replace("第", "补").splitlines()[1:601]
    (tmp_path / "new-reviews.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    shown = []
    for line in (line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()):
        if not line or line.startswith(SLOW):
            continue
        if not line.startswith("mofang"):
            subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
            _correct(tmp_path / "reviews.csv")
            continue
        assert run(shlex.split(line)[1:]) == 0, line
        shown.append(capsys.readouterr().out)
        if line.startswith("mofang new"):
            hasten(tmp_path / "reviews.py")
    told = "\n".join(shown)
    for line in blocks("text")[0].splitlines():
        assert re.search(pattern(line), told), f"{line}\n{told}"
    assert "reviews@1 is ready" in shown[1] and "reviews@2 is ready" in shown[2] and "better" in shown[2]
    assert "600 new rows, 4 changed" in shown[2]
    assert shown[4].count("compared with") == 0, "the first version had none before it"


def _muddle(path: Path) -> None:
    """A third of the labels are wrong at first, so that more and better rows help."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for place in range(1, len(lines) - 3, 3):
        text, label = lines[place].rsplit(",", 1)
        lines[place] = f"{text},{'差评' if label == '好评' else '好评'}"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _correct(path: Path) -> None:
    """Four of the labels are corrected in place."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for place in range(1, 12, 3):
        text, label = lines[place].rsplit(",", 1)
        lines[place] = f"{text},{'差评' if label == '好评' else '好评'}"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
