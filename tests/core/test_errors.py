"""Every code that is raised has words in both languages, and every wording is raised somewhere."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import mofang
from mofang.core.errors import MofangError, Pending, wordings
from mofang.core.language import set_language

PACKAGE = Path(mofang.__file__).parent


@cache
def raised() -> dict[str, set[str]]:
    """Code → names of the values it is raised with (empty if they are passed by a variable)."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("MofangError", "Pending"):
                values = {keyword.arg or "**" for keyword in node.keywords}
                found.setdefault(str(node.args[0].value), set()).update(values)
    return found


def test_every_code_raised_is_worded_and_every_wording_is_raised() -> None:
    codes = set(raised())
    assert codes <= set(wordings()), f"not worded: {codes - set(wordings())}"
    spoken = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert [code for code in wordings() if f'"{code}"' not in spoken] == []


@pytest.mark.parametrize("code", sorted(wordings()))
def test_a_wording_is_whole(code: str) -> None:
    entry = wordings()[code]
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)
    for language in ("en", "zh"):
        what, fix = entry[language]
        assert what.strip() and fix.strip()
    holes = {language: set(re.findall(r"(?<!{){(\w+)", "".join(entry[language]))) for language in ("en", "zh")}
    assert holes["en"] == holes["zh"], "both languages show the same values"
    given = raised().get(code, set())
    if "**" not in given and given:
        assert holes["en"] <= given, f"{code} shows values it is not raised with: {holes['en'] - given}"
    assert 400 <= int(entry.get("status", 400)) < 600


def test_an_error_speaks_the_language_of_the_screen() -> None:
    error = MofangError("entry-unknown", entry="run_x")
    assert "run_x" in error.what and error.to_dict()["code"] == "entry-unknown"
    set_language("zh")
    assert "账本" in error.what
    assert isinstance(Pending("entry-unknown", entry="x"), MofangError)


def test_a_hostile_value_does_not_flood_the_screen() -> None:
    assert len(MofangError("entry-unknown", entry="x" * 10_000_000).what) < 500
