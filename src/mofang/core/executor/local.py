"""Processes of this machine."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
WATCHED_S = 1.0


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

            self._pool = ProcessPoolExecutor(self.processes, mp_context=multiprocessing.get_context("spawn"),
                                             initializer=_end_with, initargs=(os.getpid(),))
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _end_with(parent: int) -> None:
    """End this process when the one that started it was killed; it would wait for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCHED_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
