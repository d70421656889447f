"""Where pieces of work run: in this process, in several, or on a Ray cluster. The result is the same, in the same order.

A function and its items must be picklable; that transport stays among our own authenticated processes. Data travels
through the shared store, so items are small (paths, ranges, settings).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import mofang
from mofang.core.errors import MofangError

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Maps a function over items and yields the results in the items' order."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in order; the first error is raised and the rest is abandoned."""

    def close(self) -> None:
        """End the workers."""


class Local:
    """Processes of this machine; one process means this one. Spawned, so that no lock or thread is inherited."""

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self._pool: Any = None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        if self.processes <= 1:
            yield from map(function, items)
            return
        if self._pool is None:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(self.processes, mp_context=multiprocessing.get_context("spawn"))
        yield from _window((self._pool.submit(function, item) for item in items), self.processes * 2,
                           lambda future: future.result())

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


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
        theirs = self._get(self._ray.remote(_version).remote())
        if theirs != mofang.__version__:
            raise MofangError("cluster-version", ours=mofang.__version__, theirs=theirs)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        apply: Any = self._ray.remote(_apply)
        shared = self._ray.put(function)
        in_flight = max(2, int(self._resources().get("CPU", 1))) * 2
        yield from _window((apply.remote(shared, item) for item in items), in_flight, self._get)

    def _resources(self) -> dict[str, float]:
        found: dict[str, float] = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        return found

    def _get(self, reference: Any) -> Any:
        return self._ray.get(reference)

    def close(self) -> None:
        self._ray.shutdown()


def _apply(function: Callable[[T], R], item: T) -> R:
    return function(item)


def _version() -> str:
    return mofang.__version__


def _window(started: Iterator[Any], size: int, result: Callable[[Any], R]) -> Iterator[R]:
    """At most ``size`` pieces in flight, so that a long list does not fill memory."""
    waiting: deque[Any] = deque()
    for future in started:
        waiting.append(future)
        if len(waiting) >= size:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())


def executor_named(text: str) -> Executor:
    """From ``local``, ``local:4``, ``ray`` or ``ray:ADDRESS`` (``MOFANG_EXECUTOR``)."""
    kind, _, rest = text.partition(":")
    if kind == "local" and (rest.isdecimal() or not rest):
        return Local(int(rest or 1))
    if kind == "ray":
        return RayExecutor(rest or "local")
    raise MofangError("executor-unknown", executor=text)
