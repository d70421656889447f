"""The worlds of the contract suite: one for each classification, made once a session; other tasks see test_other_tasks.py."""

from __future__ import annotations

import pytest

from mofang.core.shop import Shop
from tests.contract.world import World, make_world

WHOLE = ("image_classification", "table_classification", "text_classification")


@pytest.fixture(scope="session", params=WHOLE)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp(request.param)
    return make_world(request.param, folder, Shop.open(folder / "shop"))
