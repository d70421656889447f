"""Kill -9 of a serving process: what is billed is what the clients count, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.killing import kills, postgres_kills

pytestmark = pytest.mark.cluster


def test_billed_is_what_the_clients_count(tmp_path: Path) -> None:
    count, wrong = kills(tmp_path / "shop", times=20)
    assert wrong == []
    assert len(count.units) > 100 and count.repeats > 0


def test_so_it_is_where_the_database_is_killed_too(tmp_path: Path) -> None:
    count, wrong = postgres_kills(tmp_path / "shop", times=12, seed=3)
    assert wrong == []
    assert len(count.units) > 20 and count.repeats > 0
