"""What every command shares: the shop in use, and one way to print tables, JSON and CSV."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mofang.cli.child import handed
from mofang.core.errors import MofangError
from mofang.core.language import say

if TYPE_CHECKING:
    from rich.console import Console

    from mofang.core.shop import Shop


GAP = 3  # blanks between two columns
# commands that look at what is there or sell it: where there is no shop they were typed in the wrong folder; the second
# kind may begin one where its place is named
LOOKS = frozenset(("predict", "generate", "search", "serve", "sell", "invoice", "models", "runs", "trace", "verify", "costs",
                   "show"))
KEEPS = frozenset(("customer", "key", "lease", "price", "rates", "settings"))


@dataclass
class Context:
    """The command's surroundings; the shop is opened at first use."""

    shop_path: str = ""
    verbose: bool = False
    command: str = ""

    @property
    def remote(self) -> bool:
        """True if the shop is on another machine."""
        return self.shop_path.startswith(("http://", "https://"))

    @cached_property
    def console(self) -> Console:
        """The terminal, through rich."""
        from rich.console import Console

        lent = handed()
        width = lent.width if lent else None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160"))
        return Console(highlight=False, width=width)

    @cached_property
    def shop(self) -> Shop:
        """The shop; made if this command makes something of records, which it says. Others need one that is there.

        Raises ``shop-elsewhere`` (or ``shop-none``) with the way to the nearest or the last used one.
        """
        from mofang.core.remembered import remember
        from mofang.core.shop import Shop

        place = self.place
        if place is None:
            if self.shop_path and self.command in LOOKS:
                raise MofangError("shop-missing", path=self.shop_path)
            if not self.shop_path and self.command in LOOKS | KEEPS:
                raise self._wrong_folder()
            place = Path(self.shop_path or "shop")
            remember(place)
            click.echo(say("A new shop is made in {path}.", "在 {path} 新建模坊。", path=place), err=True)
        elif handed() is None:
            remember(place)
        return Shop.open(place)

    def _wrong_folder(self) -> MofangError:
        """Nobody wants an empty shop to look at: where the nearest or the last used one is."""
        from mofang.core.remembered import below, last_used, way_to

        found = below(Path.cwd()) or last_used()
        if found is None:
            return MofangError("shop-none", folder=str(Path.cwd()))
        return MofangError("shop-elsewhere", folder=str(Path.cwd()), shop=str(found), way=way_to(found))

    @cached_property
    def place(self) -> Path | None:
        """Where the shop lies, or None while there is none."""
        from mofang.core.migrate import SETTINGS
        from mofang.core.shop import Shop

        if self.remote:
            raise MofangError("shop-remote", address=self.shop_path)
        if self.shop_path:
            named = Path(self.shop_path)
            return named if (named / SETTINGS).exists() else None
        return Shop.discover(Path.cwd())

    def say(self, en: str, zh: str, **values: object) -> None:
        """Print one sentence in the language of the screen."""
        click.echo(say(en, zh, **values))

    def next(self, *commands: str) -> None:
        """What to type next."""
        click.echo(click.style(say("Next:", "下一步："), bold=True))
        for command in commands:
            click.echo(click.style(f"  {command}", fg="cyan"))

    def confirm(self, changes: Sequence[str], yes: bool) -> None:
        """Show what will change and ask; ``yes`` is the flag for scripts. Where nobody can answer, nothing waits.

        Raises ``yes-needed`` without a terminal, ``not-confirmed`` where the answer was no.
        """
        if yes or not changes:
            return
        if not sys.stdin.isatty():
            raise MofangError("yes-needed", changes=" ".join(changes))
        for line in changes:
            click.echo(line, err=True)
        if not click.confirm(say("Go on?", "继续吗？"), err=True):
            raise MofangError("not-confirmed")

    def confirm_act(self, changes: Sequence[str], yes: bool, function: Callable[..., Any], **settings: Any) -> Any:
        """Ask, then act. What the action refuses is said before the question, never after it.

        Only for actions that do nothing but write journals.
        """
        from mofang.core.action import rehearse

        if not yes:
            rehearse(self.shop, function, **settings)
        self.confirm(changes, yes)
        return self.shop.act(function, **settings)

    def table(self, rows: Sequence[dict[str, Any]], headings: dict[str, str], *, as_json: bool = False,
              as_csv: bool = False, title: str = "") -> None:
        """Rows as a table, as JSON, or as CSV. ``headings`` maps keys to words; numbers align right."""
        if as_json:
            import orjson

            click.echo(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2, default=str).decode())
        elif as_csv:
            import csv

            writer = csv.DictWriter(sys.stdout, list(headings), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            self._draw(rows, headings, title)

    def _draw(self, rows: Sequence[dict[str, Any]], headings: dict[str, str], title: str) -> None:
        """Lines in columns; only a table too wide for the screen is handed to rich, which takes longer than most lists."""
        from rich.cells import cell_len

        cells = [list(headings.values()), *([_shown(row.get(key)) for key in headings] for row in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        wide = sum(widths) + GAP * (len(widths) - 1) + 2 > self.width
        if wide or title or any("\n" in cell for line in cells for cell in line):
            self._fold(rows, headings, title)
            return
        right = [bool(rows) and all(isinstance(row.get(key), int | float | None) for row in rows) for key in headings]

        def lined(line: list[str]) -> str:
            padded = [" " * (width - cell_len(cell)) + cell if to_right else cell + " " * (width - cell_len(cell))
                      for cell, width, to_right in zip(line, widths, right, strict=True)]
            return " " + (" " * GAP).join(padded) + " "

        rule = " " + "─" * (sum(widths) + GAP * (len(widths) - 1)) + " "
        head = click.style(lined(cells[0]), bold=True) if sys.stdout.isatty() else lined(cells[0])
        click.echo("\n".join(["", head, rule, *map(lined, cells[1:]), ""]))

    @property
    def width(self) -> int:
        """Columns of the screen; 160 where it is none (COLUMNS)."""
        lent = handed()
        return lent.width if lent else self.console.width if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160"))

    def _fold(self, rows: Sequence[dict[str, Any]], headings: dict[str, str], title: str) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
        for key, words in headings.items():
            numeric = bool(rows) and all(isinstance(row.get(key), int | float | None) for row in rows)
            table.add_column(words, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_shown(row.get(key))) for key in headings))
        self.console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


pass_context = click.make_pass_decorator(Context)


def listing(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` and ``--csv``, as every list has them."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    return click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")(command)


def as_json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``, of a command that prints facts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(facts: dict[str, Any]) -> None:
    """Facts for programs."""
    import orjson

    click.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())


class NewFile(click.Path):
    """A file to be written; a folder that is not there is said before the work begins, not after it."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or ``file-not-writable``."""
        path = Path(value)
        if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
            raise MofangError("file-not-writable", path=path)
        return super().convert(value, param, ctx)


class Given(click.ParamType[Any]):
    """A text, a file or folder that is there, or ``-`` for standard input: what a person wants answered."""

    name = "text"


class LentFile(click.Path):
    """A file that is there and read; its command itself says so where it is not."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


class NewPlace(click.Path):
    """A file to be written, or a folder to write it into under its own name."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


class OnDiskText(click.ParamType[Any]):
    """A setting of a stage that names a place on the disk."""

    name = "place"


class Names(click.Group):
    """A group whose bare name is its list: ``mofang key`` is ``mofang key list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With no word, or with a flag of the list, the list is meant; ``--help`` stays the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """A wrong word is answered with the nearest."""
        if args[0] not in self.commands:
            from mofang.core.nearest import nearest

            raise MofangError("command-unknown", command=f"{self.name} {args[0]}",
                              nearest=f"{self.name} {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def short(id: str) -> str:
    """An id's beginning, long enough to be unique in a shop."""
    return id[:17]


def when(at_us: int) -> str:
    """A time as people write it, in local time."""
    from datetime import datetime

    return datetime.fromtimestamp(at_us / 1e6).strftime("%Y-%m-%d %H:%M:%S")
