"""docs/sources.md is walked: every command of its console block is typed, and what it prints is what the page shows."""

from __future__ import annotations

from pathlib import Path

from tests.data.remote.test_sql import fill
from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def test_the_walk_of_the_page(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    fill(tmp_path / "shop.db", 1, 60)
    walk("sources.md", terminal, {"sqlite3 ": lambda: fill(tmp_path / "shop.db", 61, 70)})
