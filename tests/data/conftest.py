"""Fixtures of the data floor's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from mofang.core.shop import Shop
from tests.stories.terminal import Done, Inside

settings.register_profile("busy machine", deadline=None)  # a shared machine must not decide on a property
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def shop_factory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Shop, Path]]:
    """Makes an empty shop with a folder beside it, for tests that hypothesis calls many times."""

    def make() -> tuple[Shop, Path]:
        folder = tmp_path_factory.mktemp("shop")
        return Shop.open(folder / "shop"), folder

    return make


@pytest.fixture
def typed() -> Callable[..., Done]:
    """Types a command in a folder, as a person does."""
    return lambda folder, *words: Inside(folder).type(*words, status=None)
