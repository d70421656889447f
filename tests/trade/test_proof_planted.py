"""That ``bench/planted.py`` can still plant its faults, each in one place of the product, and that their tests are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.planted import PLANTED, ROOT, Planted, place


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.name)
def test_it_can_be_planted(one: Planted) -> None:
    """Where this fails, somebody changed that line: find the place that now decides, and run ``python bench/planted.py NAME``."""
    assert (ROOT / place(one)).read_text(encoding="utf-8").count(one.before) == 1
    assert Path(ROOT / one.test.split()[0]).exists()
