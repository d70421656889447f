"""Apache Spark, through ``mapInArrow``."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa

from mofang.core.errors import MofangError
from mofang.core.executor.carrying import told, tried

T = TypeVar("T")
R = TypeVar("R")
WAVES = 4  # pieces a core in one job: enough to balance, few enough that a killed run loses little


class SparkExecutor:
    """A Spark session at a master such as ``local[2]``, ``spark://host:7077`` or ``yarn``."""

    def __init__(self, master: str = "local[*]") -> None:
        try:
            from pyspark.sql import SparkSession
        except ModuleNotFoundError:
            raise MofangError("spark-missing") from None
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder: Any = SparkSession.builder
        builder = builder.config("spark.ui.showConsoleProgress", "false")
        settings = {"spark.ui.enabled": "false", "spark.log.level": "ERROR", "spark.driver.bindAddress": "127.0.0.1",
                    "spark.driver.host": "127.0.0.1"} if master.startswith("local") else {}
        builder = builder.master(master).appName("mofang")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self._session: Any = builder.getOrCreate()
        self.handshake()

    def handshake(self) -> None:
        """Refuse a cluster that runs another version; its results could differ."""
        from mofang.core.executor import require_same_version, version_there

        require_same_version(next(self.map(version_there, [None])))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in order, a wave of items a Spark job; each item is one partition of one row."""
        left = iter(items)
        size = max(1, int(self._session.sparkContext.defaultParallelism)) * WAVES
        while wave := list(islice(left, size)):
            frame = self._session.range(0, len(wave), 1, len(wave))
            work = _Wave(function, [pickle.dumps(item) for item in wave])
            rows = self._collected(frame.mapInArrow(work, "number long, result binary, failed boolean"))
            for row in sorted(rows, key=lambda row: int(row["number"])):
                yield told(bytes(row["result"]), bool(row["failed"]))

    def _collected(self, frame: Any) -> list[Any]:
        rows: list[Any] = frame.collect()
        return rows

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._session.stop()


class _Wave:
    """What each Spark task runs: its rows' numbers choose the items."""

    def __init__(self, function: Callable[[Any], Any], items: list[bytes]) -> None:
        self._function, self._items = pickle.dumps(function), items

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        function = pickle.loads(self._function)  # noqa: S301  (sent by our own driver)
        for batch in batches:
            numbers = batch.column(0).to_pylist()
            found = [tried(function, pickle.loads(self._items[number])) for number in numbers]  # noqa: S301
            yield pa.RecordBatch.from_pydict({
                "number": pa.array(numbers, pa.int64()),
                "result": pa.array([result for result, _ in found], pa.binary()),
                "failed": pa.array([failed for _, failed in found], pa.bool_()),
            })
