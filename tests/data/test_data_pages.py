"""docs/assess.md and docs/snapshot.md are walked on data that an installed package ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.new.test_pages import walk
from tests.stories.terminal import Inside


@pytest.mark.parametrize("page", ["assess.md", "snapshot.md"])
def test_the_page_is_true(page: str, tmp_path: Path) -> None:
    walk(page, Inside(tmp_path), {})
