"""One shop with one trained model, made by typing, and copied for each story."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stories.terminal import Done, Inside, Terminal

GOOD = ("很好", "喜欢", "满意", "推荐", "干净", "热情", "漂亮", "值得")
BAD = ("很差", "失望", "糟糕", "退货", "肮脏", "冷漠", "难看", "后悔")
THINGS = ("房间", "早餐", "屏幕", "键盘", "故事", "翻译", "服务", "物流", "价格", "封面", "电池", "声音")


@dataclass(frozen=True)
class Made:
    """The folder of the first hours, and what the screen said."""

    folder: Path
    new: Done
    run: Done


def write_reviews(path: Path, rows: int = 240) -> None:
    """Reviews in Chinese with full-width signs, some copies, and an empty one."""
    generator = random.Random(11)
    lines = []
    for number in range(rows):
        words = [generator.choice(THINGS) + generator.choice((GOOD, BAD)[number % 2]) for _ in range(4)]
        lines.append(f"第{number}单，{'，'.join(words)}！　ＡＢ{number},{('好评', '差评')[number % 2]}")
    lines += [lines[0], lines[1], ",好评"]
    path.write_text("\n".join(["评论,评价", *lines, ""]), encoding="utf-8")


def hasten(recipe: Path) -> None:
    """Edit the recipe as its owner may: one family, and a short look at each engine."""
    text = recipe.read_text(encoding="utf-8")
    faster = text.replace("select, data,", 'select, data, families=("linear",),')
    faster = faster.replace("package, graph, evidence)", "package, graph, evidence, seconds=0.02)")
    assert faster.count('families=("linear",)') == faster.count("seconds=0.02") == 1
    recipe.write_text(faster, encoding="utf-8")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """``mofang new`` and ``mofang run``, once a session."""
    terminal = Inside(tmp_path_factory.mktemp("founder"))
    write_reviews(terminal.folder / "reviews.csv")
    new = terminal.type("new", "reviews.csv", "--licence", "own", "--origin", "our own shop")
    hasten(terminal.folder / "reviews.py")
    return Made(terminal.folder, new, terminal.type("run", "reviews.py", "--budget", "1m"))


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Callable[[str], Terminal]:
    """A copy of the folder for one story, typed into in the given language."""

    def copy(language: str = "en") -> Terminal:
        shutil.copytree(made.folder, tmp_path / "company")
        return Inside(tmp_path / "company", language)

    return copy


@pytest.fixture
def terminal(copied: Callable[[str], Terminal]) -> Terminal:
    """A copy of the folder, in English."""
    return copied("en")
