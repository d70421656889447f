"""The help screen and the first screen: four groups, in two languages, quick and light."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mofang.cli.group import run
from tests.stories.terminal import Terminal

CPU_S_MAX = 0.5
HEAVY = {"torch", "pyarrow", "numpy", "sklearn", "transformers", "onnxruntime", "openvino", "pydantic", "rich", "pandas",
         "fastapi", "starlette", "uvicorn", "httpx", "jinja2"}


def cpu_s(terminal: Terminal, *words: str) -> float:
    """CPU seconds of one command; the best of up to five, because other programs use the same caches."""
    found = [2 * CPU_S_MAX]
    while len(found) <= 5 and min(found) >= CPU_S_MAX:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        terminal.type(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


@pytest.mark.parametrize(("language", "groups"), [
    ("en", ["Make", "Sell", "Look back", "More"]), ("zh", ["制作", "销售", "回看", "更多"])])
def test_the_help_screen_has_four_groups(tmp_path: Path, language: str, groups: list[str]) -> None:
    shown = Terminal(tmp_path, language).type("--help").out
    places = [shown.index(f"\n{group}:\n") for group in groups]
    assert places == sorted(places)
    for name in ("new", "run", "predict", "serve", "customer", "key", "price", "invoice", "status", "models", "runs", "trace",
                 "verify", "backup", "restore", "sweep", "demo", "matrix", "rates", "doctor", "explain"):
        assert re.search(rf"\n  {name} ", shown), name
    assert "survey, tokenizer, train" in shown.replace("\n ", ""), "single stages are listed too"
    assert Terminal(tmp_path, "en").type("--lang", language, "--help").out == shown, "the flag does what the variable does"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("new",), ("run",), ("serve",), ("customer",), ("key", "new"), ("invoice",), ("train",), ("collect",)):
        assert run([*words, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "Usage: mofang " + " ".join(words) in shown and "--help" in shown


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    environment = Terminal(tmp_path).environment
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "mofang", "--help"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=60, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "mofang.cli.group" in modules
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()


def test_help_and_the_first_screen_take_under_half_a_second(terminal: Terminal) -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in terminal.environment, os.environ.get("PYTHONDONTWRITEBYTECODE")
    assert cpu_s(terminal, "--help") < CPU_S_MAX
    assert cpu_s(terminal) < CPU_S_MAX
    assert cpu_s(terminal, "models") < CPU_S_MAX
