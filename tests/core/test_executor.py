"""The same results in the same order, wherever the pieces run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

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


def test_workers_end_when_their_shop_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, sys, time\n"
        "from mofang.core.executor import Local\n"
        "if __name__ == '__main__':\n"
        "    print(sorted(set(Local(2).map(os.getpgid, [0] * 4))), list(Local(2).map(abs, [1])), flush=True)\n"
        "    time.sleep(60)\n")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        group = os.getpgid(process.pid)
        process.kill()
        process.wait()
        until = time.monotonic() + 20
        while time.monotonic() < until and _alive(group):
            time.sleep(0.2)
        assert not _alive(group)
    finally:
        process.kill()


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
