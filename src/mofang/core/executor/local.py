"""Processes of this machine."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Local:
    """Processes of this machine; one process means this one. Spawned, so that no lock or thread is inherited."""

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self._pool: Any = None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the items' order, with twice as many pieces in flight as there are processes."""
        if self.processes <= 1:
            yield from map(function, items)
            return
        pool = self._begun()
        yield from _window((pool.submit(function, item) for item in items), self.processes * 2)

    def begin(self, module: str) -> None:
        """Start the processes before there is work for them, so that they load this module meanwhile."""
        if self.processes > 1 and self._pool is None:
            for _ in range(self.processes):
                self._begun().submit(_load, module)

    def _begun(self) -> Any:
        if self._pool is None:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(self.processes, mp_context=multiprocessing.get_context("spawn"))
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _load(module: str) -> None:
    importlib.import_module(module)


def _window(started: Iterator[Any], size: int) -> Iterator[Any]:
    """At most ``size`` pieces in flight, so that a long list does not fill memory."""
    waiting: deque[Any] = deque()
    for future in started:
        waiting.append(future)
        if len(waiting) >= size:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
