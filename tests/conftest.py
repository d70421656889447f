"""Fixtures that every floor's tests share: an empty shop in SQLite, or in PostgreSQL where the run includes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.language import set_language
from mofang.core.shop import Shop

TOGETHER = ("tests/contract/",)  # files that share worlds which are dear to make: one process runs all of them
LONG = ("tests/contract/", "tests/stories/test_away.py", "tests/test_recipes.py", "tests/stories/test_stopping.py", "tests/fit/",
        "tests/data/test_data_pages.py", "tests/data/test_assess.py", "tests/stories/test_kill.py", "tests/new/", "tests/judge/",
        "tests/data/labelling/", "tests/data/", "tests/stories/")  # first, so that no process ends long after the other

for name in ("MOFANG_THREADS", "OMP_NUM_THREADS"):  # two test processes with two threads each wait for each other most of the time
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file the order stays."""
    items.sort(key=lambda item: next((place for place, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files to each process, as ``--dist loadfile`` does it, but in our order, and some files together."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "loadfile":
        return None

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((start for start in TOGETHER if nodeid.startswith(start)), super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return Files(config, log)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """No test reaches beyond this machine: a name that is not loopback is refused before it is looked up."""
    import socket

    plain = socket.getaddrinfo

    def guarded(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        assert name in (None, "", "localhost", "::1") or str(name).startswith("127."), f"a test asked for {name}"
        return plain(host, *rest, **named)

    socket.getaddrinfo = guarded
    yield
    socket.getaddrinfo = plain


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests remember their shops somewhere else than in the home of whoever runs them."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def english() -> None:
    set_language("en")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty shop on this machine."""
    return Shop.open(tmp_path / "shop")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An embedded PostgreSQL for the whole session."""
    import pgserver

    server = pgserver.get_server(tmp_path_factory.mktemp("pg"))
    yield server
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: Any) -> Iterator[str]:
    """A fresh database in the session's server."""
    import psycopg

    name = f"shop_{os.urandom(6).hex()}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    yield postgres_server.get_uri(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.cluster)])
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """An empty shop in each database that Mofang promises."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Shop.open(tmp_path / "shop", database=url)
