"""Workers killed every second under load: back within five seconds, refused in words, charged once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.working import working

pytestmark = pytest.mark.cluster


def test_a_killed_worker_is_back_and_nothing_is_charged_twice(tmp_path: Path, postgres_url: str) -> None:
    """Six seconds over PostgreSQL; a minute over both databases is ``make bench-faults ARGS=workers``."""
    told, wrong = working(tmp_path, 6, postgres_url)
    assert wrong == [] and told.kills >= 5 and len(told.keyed) > 50 and len(told.single) > 50, told.line
