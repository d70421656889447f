"""A long list as a page shows it: chosen, sorted, and cut into pieces; what was asked for is checked, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mofang.core.errors import MofangError

ROWS = 50
TEXT_MOST = 100
PAGES_MOST = 1_000_000
Row = TypeVar("Row")


@dataclass(frozen=True)
class Listed(Generic[Row]):
    """One piece of a list: its rows, which piece of how many it is, and how many rows there are in all.

    ``asked`` is what was asked for in words of an address: ``sort``, ``show``, ``text`` and others; empty ones left out.
    """

    rows: list[Row]
    page: int
    pages: int
    all: int
    asked: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice(Generic[Row]):
    """How a list may be asked for: by which columns (``sorts``, each with what it sorts by) and which of its rows (``shows``).

    ``begin`` is the order where nothing is asked; a ``-`` before a column turns it round. ``more`` are names of further
    parameters, each with whether a row fits what was given.
    """

    sorts: Mapping[str, Callable[[Row], Any]]
    begin: str
    shows: Mapping[str, Callable[[Row], bool]] = field(default_factory=dict)
    texts: Callable[[Row], str] = str
    more: Mapping[str, Callable[[Row, str], bool]] = field(default_factory=dict)

    def of(self, rows: Sequence[Row], given: Mapping[str, str]) -> Listed[Row]:
        """The piece that was asked for. Raises ``query-wrong`` for what is no column, no choice or no number."""
        asked = {name: given[name].strip()[:TEXT_MOST] for name in ("sort", "show", "text", *self.more)
                 if given.get(name, "").strip()}
        sort = asked.get("sort", self.begin)
        if sort.removeprefix("-") not in self.sorts:
            raise MofangError("query-wrong", name="sort", value=sort, wanted=", ".join(self.sorts))
        show = asked.get("show", "")
        if show and show not in self.shows:
            raise MofangError("query-wrong", name="show", value=show, wanted=", ".join(self.shows))
        found = [one for one in rows if not show or self.shows[show](one)]
        if text := asked.get("text", "").casefold():
            found = [one for one in found if text in self.texts(one).casefold()]
        for name, fits in self.more.items():
            if value := asked.get(name, ""):
                found = [one for one in found if fits(one, value)]
        found.sort(key=self.sorts[sort.removeprefix("-")], reverse=sort.startswith("-"))
        pages = max(1, -(-len(found) // ROWS))
        page = min(_page(given.get("page", "")), pages)
        return Listed(found[(page - 1) * ROWS : page * ROWS], page, pages, len(found), asked)


def _page(text: str) -> int:
    """The number of a piece; the first if none is named."""
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 0 < int(text) <= PAGES_MOST):
        raise MofangError("query-wrong", name="page", value=text[:40], wanted="1, 2, 3 …")
    return int(text)
