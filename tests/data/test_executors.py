"""Cleaning gives the same records wherever its batches are looked at: here, in two processes, on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.executor import Executor, Local
from mofang.core.executor.on_ray import RayExecutor
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.records import content_digest
from tests.core.test_executor import square


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """One Ray for the module, started here under a name of its own and ended here."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:  # sockets below it: short
        executor = RayExecutor("local", temporary=short, processors=2)
        yield executor
        executor.close()


def cleaned(folder: Path, executor: Executor) -> tuple[str, dict[str, Any]]:
    source = folder / "texts.csv"
    rows = [f"第{n % 700}号房间，　服务{'很好' if n % 3 else '很差'}，Ａ{n % 7},{'pos' if n % 3 else 'neg'}" for n in range(9000)]
    source.write_text("text,label\n" + "\n".join([*rows, ",pos"]) + "\n", encoding="utf-8")
    place = folder / "shop"
    Shop.make(place)
    (place / "keys").mkdir()
    (place / "keys" / "records.key").write_bytes(bytes(32))
    shop = Shop(place)
    shop.__dict__["executor"] = executor
    made = shop.run(clean, shop.run(collect, source=str(source), licence="own", text=("text",), label="label"))
    return content_digest(made / "kept"), made.measures


def test_two_processes_clean_as_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    executor = Local(2)
    try:
        assert cleaned(tmp_path / "one", Local()) == cleaned(tmp_path / "two", executor)
    finally:
        executor.close()


@pytest.mark.cluster
def test_a_ray_cluster_cleans_as_one_process(tmp_path: Path, ray: Executor) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "ray").mkdir()
    assert cleaned(tmp_path / "one", Local()) == cleaned(tmp_path / "ray", ray)
    assert list(ray.map(square, range(12))) == [n * n for n in range(12)]


@pytest.mark.cluster
def test_a_cluster_of_another_version_is_refused(ray: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofang.__version__", "9.9.9")
    with pytest.raises(MofangError) as error:
        ray.handshake()  # type: ignore[attr-defined]
    assert error.value.code == "cluster-version"
