"""Cleaning gives the same records wherever its batches are looked at: here, in two processes, on Ray, on Spark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.executor import Executor, Local, executor_named
from mofang.core.executor.on_ray import RayExecutor
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.cleaning import duplicates, near, shards
from mofang.data.collect import collect
from mofang.data.records import content_digest
from tests.core.test_executor import square


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """Ray on two nodes of this machine, one processor each, started here under a name of its own and ended here."""
    import tempfile

    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:  # sockets below it: short
        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False, "temp_dir": short}
        (Path(tempfile.gettempdir()) / "ray").mkdir(exist_ok=True)  # where a cluster writes its address, wherever its own folder is
        cluster: Any = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        cluster.wait_for_nodes()
        executor = RayExecutor(cluster.address)
        yield executor
        executor.close()
        cluster.shutdown()


@pytest.fixture(scope="module")
def spark() -> Iterator[Executor]:
    """Spark in this machine's Java, two tasks at a time."""
    executor = executor_named("spark:local[2]")
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


def test_the_size_of_pieces_and_batches_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    once = cleaned(tmp_path / "one", Local())
    monkeypatch.setattr(shards, "PIECE_BYTES_LEAST", 5_000)
    monkeypatch.setattr(shards, "PIECES", 40)
    monkeypatch.setattr(shards, "BATCH_BYTES", 3_000)
    monkeypatch.setattr(duplicates, "PARTITION_ROWS", 500)
    monkeypatch.setattr(near, "PARTITION_ROWS", 300)
    monkeypatch.setattr(near, "CHUNK_ROWS", 100)
    assert cleaned(tmp_path / "many", Local()) == once


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["ray", "spark"])
def test_a_cluster_cleans_as_one_process(
    tmp_path: Path, name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor: Executor = request.getfixturevalue(name)
    (tmp_path / "one").mkdir()
    (tmp_path / "there").mkdir()
    once = cleaned(tmp_path / "one", Local())
    monkeypatch.setattr(shards, "PIECE_BYTES_LEAST", 20_000)
    assert cleaned(tmp_path / "there", executor) == once
    assert list(executor.map(square, range(12))) == [n * n for n in range(12)]
    with pytest.raises(ValueError, match="unlucky"):
        list(executor.map(square, [12, 13, 14]))


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["ray", "spark"])
def test_a_cluster_of_another_version_is_refused(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor: Any = request.getfixturevalue(name)
    monkeypatch.setattr("mofang.__version__", "9.9.9")
    with pytest.raises(MofangError) as error:
        executor.handshake()
    assert error.value.code == "cluster-version"
