"""Where pieces of work run: in this process, in several, on a Ray cluster or on Spark. The result is the same, in the
same order.

A function and its items must be picklable; that transport stays among our own authenticated processes. Data travels
through the shared store, so items are small (paths, ranges, settings).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import mofang
from mofang.core.errors import MofangError
from mofang.core.executor.local import Local

__all__ = ["Executor", "Local", "executor_named", "require_same_version", "version_there"]
T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Maps a function over items and yields the results in the items' order."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in order; the first error is raised and the rest is abandoned."""

    def close(self) -> None:
        """End the workers."""


def version_there(_: Any = None) -> str:
    """Which Mofang runs where this is called."""
    return mofang.__version__


def require_same_version(theirs: str) -> None:
    """Refuse workers of another version with ``cluster-version``; their results could differ."""
    if theirs != mofang.__version__:
        raise MofangError("cluster-version", ours=mofang.__version__, theirs=theirs)


def executor_named(text: str) -> Executor:
    """From ``local``, ``local:4``, ``ray``, ``ray:ADDRESS``, ``spark`` or ``spark:MASTER`` (``MOFANG_EXECUTOR``)."""
    kind, _, rest = text.partition(":")
    if kind == "local" and (rest.isdecimal() or not rest):
        return Local(int(rest or 1))
    if kind == "ray":
        from mofang.core.executor.on_ray import RayExecutor

        return RayExecutor(rest or "local")
    if kind == "spark":
        from mofang.core.executor.on_spark import SparkExecutor

        return SparkExecutor(rest or "local[*]")
    raise MofangError("executor-unknown", executor=text)
