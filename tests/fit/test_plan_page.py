"""docs/plan.md is walked: what it shows is what is said."""

from __future__ import annotations

from pathlib import Path

from tests.contract.world import write_texts
from tests.new.test_pages import walk
from tests.stories.terminal import Inside


def test_the_page_is_true(tmp_path: Path) -> None:
    write_texts(tmp_path / "reviews.csv", rows=300)
    walk("plan.md", Inside(tmp_path), {})
