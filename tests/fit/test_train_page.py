"""docs/train.md is walked on a table that an installed package ships."""

from __future__ import annotations

from pathlib import Path

from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def test_the_page_is_true(tmp_path: Path) -> None:
    walk("train.md", Inside(tmp_path), {})
