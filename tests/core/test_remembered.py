"""Shops that were used are found again; what cannot be read or written is no reason to stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mofang.core.remembered import below, cache_file, last_used, remember, way_to
from mofang.core.resume import note_resume, resume_command, typed
from mofang.core.shop import Shop


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_last_one_that_is_still_there(tmp_path: Path) -> None:
    places = [tmp_path / name / "shop" for name in ("one", "two", "three")]
    for place in places:
        Shop.make(place)
        remember(place)
    assert last_used() == places[2]
    remember(places[0])
    assert last_used() == places[0]
    (places[0] / "mofang.json").unlink()
    assert last_used() == places[2] and way_to(places[2]) == f"cd {tmp_path / 'three'}"
    assert below(tmp_path) == places[2] and below(tmp_path / "two") == places[1] and below(tmp_path / "cache") is None


@pytest.mark.parametrize("written", ["", "{", "[1]", '[["x"]]', "null"])
def test_a_list_by_another_hand_is_no_list(tmp_path: Path, written: str) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(written)
    assert last_used() is None
    Shop.make(tmp_path / "shop")
    remember(tmp_path / "shop")
    assert last_used() == tmp_path / "shop"


def test_a_home_that_takes_nothing(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file in the way")
    remember(tmp_path)
    assert last_used() is None


def test_what_was_typed_is_told_with_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company, scratch = tmp_path / "my company", tmp_path / "scratch"
    company.mkdir()
    scratch.mkdir()
    monkeypatch.chdir(company)
    typed(["run", "my recipe.py"])
    note_resume(scratch)
    assert resume_command(scratch) == "mofang run 'my recipe.py'"
    os.chdir(tmp_path)
    assert resume_command(scratch) == f"cd '{company}' && mofang run 'my recipe.py'"
    company.rmdir()
    assert resume_command(scratch) == "mofang run 'my recipe.py'" and resume_command(tmp_path) == ""
    typed([])
