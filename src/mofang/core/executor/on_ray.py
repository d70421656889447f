"""A Ray cluster, through Ray Data's ``map_batches``."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from mofang.core.errors import MofangError
from mofang.core.executor.carrying import told, tried

T = TypeVar("T")
R = TypeVar("R")


class RayExecutor:
    """A Ray cluster. The address is always named (``local`` starts one): Ray's own search finds dead clusters and hangs."""

    def __init__(self, address: str = "local", temporary: str = "", processors: int | None = None) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise MofangError("ray-missing") from None
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        if address == "local":
            options |= {"num_cpus": processors} | ({"_temp_dir": temporary} if temporary else {})
        ray.init(address=address, **options)
        self._ray = ray
        self.handshake()

    def handshake(self) -> None:
        """Refuse a cluster that runs another version; its results could differ."""
        from mofang.core.executor import require_same_version, version_there

        require_same_version(self._ray.get(self._ray.remote(version_there).remote()))

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in order: a data set of one row an item, mapped in Arrow batches wherever the cluster has room."""
        from ray import data

        context = data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it writes a page for every data set
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        tables = [pa.table({"item": pa.array([pickle.dumps(item)], pa.binary())}) for item in items]
        if not tables:
            return
        made: Any = data.from_arrow(tables)
        mapped = made.map_batches(_mapped, batch_size=1, batch_format="pyarrow", fn_args=(function,))
        for batch in mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for result, failed in zip(batch.column("result"), batch.column("failed"), strict=True):
                yield told(result.as_py(), failed.as_py())

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()


def _mapped(batch: pa.Table, function: Callable[[Any], Any]) -> pa.Table:
    found = [tried(function, pickle.loads(item.as_py())) for item in batch.column("item")]  # noqa: S301
    results, failed = [one for one, _ in found], [one for _, one in found]
    return pa.table({"result": pa.array(results, pa.large_binary()), "failed": pa.array(failed, pa.bool_())})
