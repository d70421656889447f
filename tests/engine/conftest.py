"""One graph folder per task for the whole session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import made


@pytest.fixture(scope="session")
def text_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.text_folder(tmp_path_factory.mktemp("text") / "graph")


@pytest.fixture(scope="session")
def table_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.table_folder(tmp_path_factory.mktemp("table") / "graph", classes=3)


@pytest.fixture(scope="session")
def image_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.image_folder(tmp_path_factory.mktemp("image") / "graph")
