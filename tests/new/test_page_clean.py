"""docs/clean.md is walked: every command is typed, and what it prints is what the page shows."""

from __future__ import annotations

from pathlib import Path

from tests.new.pages import comments
from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def test_the_walk_through_cleaning(tmp_path: Path) -> None:
    comments(tmp_path / "comments.csv")
    walk("clean.md", Inside(tmp_path), {})
