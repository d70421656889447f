"""The worlds of the contract suite: one a task, made once a session."""

from __future__ import annotations

import pytest

from mofang.core.shop import Shop
from mofang.engine.task import TASKS
from tests.contract.world import World, make_world

# tasks whose stages are walked where their data are made
ELSEWHERE = {"text_embedding": "tests/serve/test_search.py", "text_generation": "tests/fit/test_generation.py"}


@pytest.fixture(scope="session", params=[task for task in TASKS if task not in ELSEWHERE])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp(request.param)
    return make_world(request.param, folder, Shop.open(folder / "shop"))
