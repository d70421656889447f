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


@pytest.fixture(scope="session")
def pair_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pair_folder(tmp_path_factory.mktemp("pair") / "graph", "pair_classification")


@pytest.fixture(scope="session")
def likeness_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pair_folder(tmp_path_factory.mktemp("likeness") / "graph", "pair_regression")


@pytest.fixture(scope="session")
def span_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.place_folder(tmp_path_factory.mktemp("span") / "graph", "token_classification")


@pytest.fixture(scope="session")
def answer_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.place_folder(tmp_path_factory.mktemp("answer") / "graph", "question_answering")


@pytest.fixture(scope="session")
def number_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.row_folder(tmp_path_factory.mktemp("number") / "graph", "text_regression")


@pytest.fixture(scope="session")
def several_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.row_folder(tmp_path_factory.mktemp("several") / "graph", "text_multilabel")
