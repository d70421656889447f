"""Progress on the screen: a bar for everything that takes over two seconds, and nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_AFTER_S = 1.0
TELL_EVERY_S = 0.25

Listener = Callable[[str, float, float | None, str], None]
_listeners: list[Listener] = []  # at most one


def tell(listener: Listener) -> None:
    """Tell progress to somebody else than this terminal: words, done, total, detail. A console's child does so."""
    _listeners[:] = [listener]


class Bar:
    """A bar that appears only if the work takes longer than a moment."""

    def __init__(self, words: str, total: float | None, live: bool) -> None:
        self.words = words
        self.total = total
        self.done = 0.0
        self.detail = ""
        self._live = live
        self._began = time.monotonic()
        self._told = 0.0
        self._shown: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, steps: float = 1) -> None:
        """Say that so many more of the total are done."""
        self.done += steps
        self._draw()

    def note(self, words: str) -> None:
        """A few words beside the bar: the loss, the file being read."""
        self.detail = words
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if not self._live or now - self._began < SHOW_AFTER_S:
            return
        if _listeners:
            if now - self._told >= TELL_EVERY_S:
                self._told = now
                _listeners[0](self.words, self.done, self.total, self.detail)
            return
        if self._shown is None:
            self._shown = _bar()
            self._shown.start()
            self._task = self._shown.add_task(self.words, total=self.total, detail="")
        assert self._task is not None
        self._shown.update(self._task, completed=self.done, detail=self.detail)

    def at(self, done: float, total: float | None, words: str) -> None:
        """Draw what a bar elsewhere has come to."""
        self.done, self.total, self.detail = done, total, words
        self._draw()
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, total=total)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._shown is not None:
            self._shown.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[detail]}", style="dim"),
        console=Console(stderr=True), transient=True,
    )


@contextmanager
def progress(words: str, total: float | None = None) -> Iterator[Bar]:
    """A bar on the terminal's error stream; silent where that is no terminal."""
    bar = Bar(words, total, live=bool(_listeners) or sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.close()


def announce(words: str) -> None:
    """One line on the terminal's error stream before something long begins; silent where that is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(words + "\n")
