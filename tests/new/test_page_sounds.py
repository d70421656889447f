"""docs/sounds.md is walked; and what a run of its recipe says, in Chinese and as JSON."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.new.test_pages import DOCS, walk
from tests.stories.terminal import Inside

pytestmark = pytest.mark.skipif(find_spec("captcha") is None, reason="the recordings lie in the package captcha")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DOCS.parent / "recipes" / "sounds.py", tmp_path / "sounds.py")
    return tmp_path


def test_the_walk_through_sounds(folder: Path) -> None:
    walk("sounds.md", Inside(folder), {})


def test_a_recipe_that_ends_in_data_says_so_in_chinese_and_as_json(folder: Path) -> None:
    terminal = Inside(folder, "zh")
    said = terminal.type("run", "sounds.py").out
    for words in ("收集 37 条，清洗后保留 36 条", "声音过短 1", "训练", "验证", "84 条是变体", "许可证：BSD-3-Clause", "评估：",
                  "sounds@1 已可用于训练", "mofang export sounds"):
        assert words in said, words
    told = terminal.type("run", "sounds.py", "--json").json
    assert told["snapshot"] == "sounds@1" and told["unchanged"] and told["parts"]["train"]["rows"] == 112
    assert told["dropped"] == {"sound-too-short": 1} and told["report"]["score"] > 0
    assert terminal.type("show", "sounds", "--json").json["entry"] == told["entry"]
    assert terminal.type("show", "sound", status=1).code == "name-unknown"
    assert terminal.type("predict", "sounds", "x", status=1).code == "kind-wrong", "data does not answer"
