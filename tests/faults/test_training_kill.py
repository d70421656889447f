"""Eight kills in the middle of a training; fifty are in bench/fit/kills.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.training import kills

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


def test_killed_trainings_end_in_the_weights_of_one_never_killed(tmp_path: Path) -> None:
    count = kills(tmp_path, 8, seed=1)
    assert count.kills >= 8 and not count.wrong, count
