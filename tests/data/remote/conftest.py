"""A folder to type in, a site on loopback, and the records that came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from tests.data.remote.loopback import Site, site
from tests.stories.terminal import Inside

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def terminal(tmp_path: Path) -> Inside:
    """Somebody in an empty folder with a new shop."""
    Shop.open(tmp_path / "here" / "shop") if (tmp_path / "here").mkdir() is None else None
    return Inside(tmp_path / "here")


@pytest.fixture
def web() -> Iterator[Site]:
    """A site on loopback."""
    with site() as made:
        yield made


@pytest.fixture
def rows(terminal: Inside) -> Rows:
    """The rows of a named set of records."""

    def read(name: str) -> list[dict[str, Any]]:
        reader = RecordReader(Shop.open(terminal.shop).find(name, "records"))
        return [row for batch in reader.batches() for row in batch.rows(media=False)]

    return read
