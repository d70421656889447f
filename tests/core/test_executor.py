"""The same results in the same order, wherever the pieces run."""

from __future__ import annotations

import pytest

from mofang.core.errors import MofangError
from mofang.core.executor import Local, executor_named


def square(value: int) -> int:
    if value == 13:
        raise ValueError("unlucky")
    return value * value


@pytest.mark.parametrize("processes", [1, 2])
def test_order_is_kept_and_errors_are_raised(processes: int) -> None:
    executor = Local(processes)
    try:
        assert list(executor.map(square, range(10))) == [n * n for n in range(10)]
        with pytest.raises(ValueError, match="unlucky"):
            list(executor.map(square, [12, 13, 14]))
    finally:
        executor.close()


def test_names() -> None:
    assert isinstance(executor_named("local:3"), Local)
    with pytest.raises(MofangError, match="no place to run"):
        executor_named("moon")
