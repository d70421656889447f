"""Stopped in the middle: Ctrl-C once and twice, a closed terminal, a supervisor, a full disk, two at once. Nothing is lost."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.cli import group
from mofang.cli.stopping import stoppable
from mofang.core.shop import Shop
from mofang.core.stopping import Stopped
from mofang.fit.families import Mlp
from mofang.fit.loop.loop import Loop
from mofang.fit.train import train
from tests.fit.planted import planted
from tests.stories.conftest import Made
from tests.stories.terminal import Terminal, eventually, ledger_rows

RUN = ("run", "reviews.py", "--budget", "1m")


STARTED = "select id from entry where kind='start'"
DONE = "select json_extract(body, '$.stage') from entry where kind='done'"


@pytest.fixture
def fresh(made: Made, tmp_path: Path) -> Terminal:
    """The same records and recipe in an empty folder."""
    for name in ("reviews.csv", "reviews.py"):
        shutil.copy(made.folder / name, tmp_path / name)
    return Terminal(tmp_path)


def finished(terminal: Terminal) -> None:
    """The same command goes on and ends well; no finished step was repeated and no lease is left."""
    assert "reviews@1 is ready" in terminal.type(*RUN).out
    done = ledger_rows(terminal.folder, DONE)
    assert done.count("collect") == done.count("clean") == done.count("snapshot") == 1
    assert ledger_rows(terminal.folder, "select count(*) from lease") == [0]
    assert terminal.type("verify", "--json").json["wrong"] == []


def test_two_runs_of_one_recipe_at_once_end_in_one_model(fresh: Terminal) -> None:
    fresh.type("--shop", "shop", "customer", "new", "makes the shop")
    both = [fresh.start(*RUN, "--json") for _ in range(2)]
    outs = [one.communicate(timeout=150) for one in both]
    assert [one.returncode for one in both] == [0, 0], outs
    assert all('"model": "reviews@1"' in out for out, _ in outs), outs
    done = ledger_rows(fresh.folder, DONE)
    assert all(done.count(stage) == 1 for stage in ("collect", "clean", "snapshot", "select", "package")), done
    assert fresh.type("verify", "--json").json["wrong"] == []


@pytest.mark.parametrize("sent", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)], ids=["terminated", "Ctrl-C twice"])
def test_stopped_by_a_signal_it_says_how_to_go_on(fresh: Terminal, sent: tuple[signal.Signals, ...]) -> None:
    running = fresh.start(*RUN, start_new_session=True)
    assert eventually(lambda: len(ledger_rows(fresh.folder, STARTED)) >= 2, 60)
    for one in sent:
        running.send_signal(one)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + sent[0], err
    assert "Nothing is lost" in err and "mofang run reviews.py --budget 1m" in err and "Traceback" not in err, err
    finished(fresh)


def test_a_closed_terminal_ends_the_run_in_order(fresh: Terminal) -> None:
    theirs, ours = pty.openpty()
    running = subprocess.Popen([sys.executable, "-m", "mofang", *RUN], cwd=fresh.folder, env=fresh.environment, stdin=ours,
                               stdout=ours, stderr=ours, start_new_session=True,
                               preexec_fn=_controlling)  # noqa: PLW1509 (no thread of the tests holds anything)
    os.close(ours)
    assert eventually(lambda: len(ledger_rows(fresh.folder, STARTED)) >= 2, 60)
    os.close(theirs)
    assert running.wait(60) == 128 + signal.SIGHUP
    assert ledger_rows(fresh.folder, "select count(*) from lease") == [0], "leases are given back"
    finished(fresh)


def _controlling() -> None:
    """Make the terminal the new session's own, so that closing it hangs up."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_full_disk_is_said_plainly(fresh: Terminal, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, because only here the disk can be made to look full."""
    monkeypatch.chdir(fresh.folder)
    monkeypatch.setenv("MOFANG_LANG", "en")
    plain, kept = os.replace, [0]

    def full(source: Any, home: Any) -> None:
        kept[0] += 1
        if kept[0] > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(source, home)

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        assert group.run(list(RUN)) == 1
    err = capsys.readouterr().err
    assert "is full" in err and "[disk-full]" in err and "Traceback" not in err
    finished(fresh)


def test_ctrl_c_finishes_the_step_and_writes_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Mlp(epochs=4)
    wanted = Shop.open(tmp_path / "whole")
    whole = wanted.run(train, wanted.run(planted, task="table_classification", rows=300), family=family)
    shop = Shop.open(tmp_path / "stopped")
    snapshot = shop.run(planted, task="table_classification", rows=300)
    step, steps = Loop._step, [0]

    def interrupted(loop: Loop, group: list[np.ndarray]) -> None:
        step(loop, group)
        steps[0] += 1
        if steps[0] == 6:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Loop, "_step", interrupted)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    try:
        with pytest.raises(Stopped), stoppable():
            shop.run(train, snapshot, family=family)
    finally:
        for one, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handlers, strict=True):
            signal.signal(one, handler)
    with stoppable():
        model = shop.run(train, snapshot, family=family)
    total = len(whole.read_json("curves.json")) * 4  # 210 rows are 4 steps of 64
    assert steps[0] == total, "the steps before the stop were not taken again"
    assert model.part("weights.safetensors").digest == whole.part("weights.safetensors").digest
