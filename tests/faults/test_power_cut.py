"""Simulated power cuts under the ledger and the meter: nothing acknowledged is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.power import trial

pytestmark = pytest.mark.cluster
SEEDS = 30


@pytest.fixture
def folder() -> Iterator[Path]:
    """Memory where there is some: the disk is simulated, so that the real one would only cost time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        yield Path(place)


def test_nothing_acknowledged_is_lost(folder: Path) -> None:
    acknowledged = 0
    for seed in range(SEEDS):
        count, wrong = trial(seed, folder)
        assert wrong == [], f"seed {seed}"
        acknowledged += count
    assert acknowledged > 20 * SEEDS


def test_the_simulation_sees_what_a_weaker_setting_loses(folder: Path) -> None:
    """With ``synchronous=normal`` the same cuts lose acknowledged work; a test that cannot fail proves nothing."""
    assert any(trial(seed, folder, synchronous="normal")[1] for seed in range(10))
