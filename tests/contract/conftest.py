"""The worlds of the contract suite: one for each classification, made once a process; other tasks see test_other_tasks.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mofang.core.shop import Shop
from tests.contract.world import World, make_world

WHOLE = ("image_classification", "table_classification", "text_classification")


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """Makes a task's world, or gives the one made before: a fixture with parameters would make it anew in every module."""
    made: dict[str, World] = {}

    def world(task: str) -> World:
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            made[task] = make_world(task, folder, Shop.open(folder / "shop"))
        return made[task]

    return world


@pytest.fixture(scope="session", params=WHOLE)
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)
