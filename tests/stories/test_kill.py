"""A run that is killed, or stopped with Ctrl-C, is continued by the same command and ends in the same bytes."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Made
from tests.stories.terminal import Terminal, eventually, ledger_rows

RUN = ("run", "reviews.py", "--budget", "1m")
MEASURES_TIME = {"package"}  # its bytes hold measured milliseconds


def entries(terminal: Terminal, sql: str = "select body from entry where kind='done' order by seq") -> list[Any]:
    """What the ledger holds of finished runs, or what else is asked."""
    return ledger_rows(terminal.folder, sql)


def digests(terminal: Terminal) -> dict[str, set[str]]:
    """The digest of everything that each stage made."""
    sql = """select json_extract(body, '$.stage') || ' ' || json_extract(body, '$.output.digest')
             from entry where kind='done' order by seq"""
    found: dict[str, set[str]] = {}
    for stage, digest in map(str.split, entries(terminal, sql)):
        found.setdefault(stage, set()).add(digest)
    return {stage: each for stage, each in found.items() if stage not in MEASURES_TIME}


@pytest.fixture
def begun(made: Made, tmp_path: Path) -> tuple[Terminal, subprocess.Popen[str]]:
    """The same records, recipe and secrets in an empty shop, and a run that is at training."""
    terminal = Terminal(tmp_path)
    for name in ("reviews.csv", "reviews.py"):
        shutil.copy(made.folder / name, tmp_path / name)
    terminal.type("--shop", "shop", "customer", "new", "makes the shop")
    shutil.rmtree(tmp_path / "shop" / "keys", ignore_errors=True)
    shutil.copytree(made.folder / "shop" / "keys", tmp_path / "shop" / "keys")
    running = terminal.start(*RUN, start_new_session=True)
    training = "select id from entry where kind='start' and body like '%\"stage\":\"train\"%'"
    assert eventually(lambda: entries(terminal, training), 60), running.communicate()
    return terminal, running


def test_killed_half_way_it_goes_on_and_ends_in_the_same_bytes(begun: tuple[Terminal, subprocess.Popen[str]],
                                                               made: Made) -> None:
    terminal, running = begun
    running.kill()
    running.communicate()
    before = len(entries(terminal))
    assert 2 <= before < len(entries(Terminal(made.folder))), "killed half way"
    _let_leases_run_out(terminal)
    done = terminal.type(*RUN)
    assert "reviews@1 is ready" in done.out
    assert digests(terminal) == digests(Terminal(made.folder))
    assert terminal.type("verify", "--json").json["wrong"] == []
    stages = [one["stage"] for one in terminal.type("runs", "--json").json if one["state"] == "done"]
    assert stages.count("collect") == stages.count("clean") == 1, "finished steps are not repeated"


def test_ctrl_c_says_how_to_go_on(begun: tuple[Terminal, subprocess.Popen[str]], made: Made) -> None:
    terminal, running = begun
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "mofang run reviews.py --budget 1m" in err and "Nothing is lost" in err and "Traceback" not in err
    assert "unfinished" in terminal.type().out, "the day's screen shows what is unfinished"
    assert "reviews@1 is ready" in terminal.type(*RUN).out, "no lease is left behind"
    assert digests(terminal) == digests(Terminal(made.folder))
    assert "unfinished" not in terminal.type().out


def _let_leases_run_out(terminal: Terminal) -> None:
    """A killed process's lease ends after 30 seconds; the clock is turned instead of waiting."""
    writer = sqlite3.connect(terminal.folder / "shop" / "ledger.db", timeout=10)
    with writer:
        writer.execute("update lease set until_us=0")
    writer.close()
