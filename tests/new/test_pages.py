"""docs/tables.md and docs/photos.md are walked: every command of their console blocks is typed, and what it prints is what
the page shows (`…` stands for anything)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.new.pages import customers, parcels
from tests.stories.conftest import hasten
from tests.stories.terminal import Inside, Terminal

DOCS = Path(__file__).resolve().parents[2] / "docs"


def steps(page: str) -> Iterator[tuple[list[str], list[str]]]:
    """(command, the lines that it should print), in order."""
    text = (DOCS / page).read_text(encoding="utf-8").split("## 中文")[0]
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = piece.rstrip("\n").split("\n")
            yield shlex.split(command.split("  #")[0]), [line for line in shown if line.strip()]


def agree(shown: list[str], said: str) -> None:
    """Every line that the page shows was said, in this order; a line ``…`` skips, ``…`` within a line is anything."""
    lines = [" ".join(line.split()) for line in said.splitlines()]
    place = 0
    for line in shown:
        rule = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        rule = rule.replace(".*", r"\s*.*?\s*")
        if line.strip() == "…":
            continue
        found = next((at for at in range(place, len(lines)) if re.fullmatch(rule, lines[at])), None)
        assert found is not None, f"{line!r} was not said after line {place} of:\n{said}"
        place = found + 1


def walk(page: str, terminal: Terminal, between: dict[str, Callable[[], None]]) -> None:
    """Type a page's commands; ``between`` holds what happens before a command that begins so."""
    for command, shown in steps(page):
        for start, do in between.items():
            if " ".join(command).startswith(start):
                do()
        if command[0] != "mofang":
            continue
        words = [*command[1:], *(["--budget", "5s"] if command[1] == "run" and "--budget" not in command else [])]
        done = terminal.type(*words, status=None)
        agree(shown, done.out + done.err)


def test_the_walk_from_a_workbook_to_a_model(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    customers(tmp_path / "customers.xlsx", 600)
    customers(tmp_path / "december.xlsx", 640, first=600)
    walk("tables.md", terminal, {
        "mofang run customers.py": lambda: hasten(tmp_path / "customers.py") if "families" not in (tmp_path / "customers.py").read_text() else None,
        "cp ": lambda: customers(tmp_path / "customers.xlsx", 640),
    })


def test_the_walk_from_photos_to_a_model(tmp_path: Path) -> None:
    parcels(tmp_path / "快递照片")
    walk("photos.md", Inside(tmp_path), {"mofang run parcels.py": lambda: hasten(tmp_path / "parcels.py")})
